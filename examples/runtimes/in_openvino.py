"""A bundle's file in OpenVINO's CPU plugin.

deployq export ... --runtime openvino -o BUNDLE
python examples/runtimes/in_openvino.py BUNDLE
"""

import sys
from pathlib import Path

import numpy as np
import openvino

bundle = Path(sys.argv[1])
golden = np.load(bundle / "golden.npz")
hint = {"INFERENCE_PRECISION_HINT": "f32"}  # of what is not in int8: no bfloat16
compiled = openvino.Core().compile_model(bundle / "model.openvino.onnx", "CPU", hint)
feeds = {port.any_name: golden[f"input/{port.any_name}"] for port in compiled.inputs}
for port, values in compiled(feeds).items():
    print(port.any_name, values[0])
