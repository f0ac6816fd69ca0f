"""A bundle's file in ONNX Runtime.

python examples/runtimes/in_onnxruntime.py BUNDLE
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

bundle = Path(sys.argv[1])
golden = np.load(bundle / "golden.npz")
session = onnxruntime.InferenceSession(bundle / "model.onnxruntime.onnx")
feeds = {i.name: golden[f"input/{i.name}"] for i in session.get_inputs()}
for output, values in zip(session.get_outputs(), session.run(None, feeds), strict=True):
    print(output.name, values[0])
