"""A bundle's file on Qualcomm HTP (x86-64: its emulator): codes in, codes out, one sample.

deployq export ... --target qnn-htp --runtime qnn-htp -o BUNDLE
python examples/runtimes/in_qnn_htp.py BUNDLE
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxruntime_qnn

bundle = Path(sys.argv[1])
golden = np.load(bundle / "golden.npz")
model = onnx.load(bundle / "model.qnn.onnx")
for value in model.graph.input:  # HTP takes fixed sizes alone
    value.type.tensor_type.shape.dim[0].dim_value = 1
onnxruntime.register_execution_provider_library("QNN", onnxruntime_qnn.get_library_path())
devices = [d for d in onnxruntime.get_ep_devices() if d.ep_name == "QNN"]
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
options.add_provider_for_devices(devices, {"backend_path": onnxruntime_qnn.get_qnn_htp_path()})
session = onnxruntime.InferenceSession(model.SerializeToString(), options)
feeds = {i.name: golden[f"codes/{i.name}.codes"][:1] for i in session.get_inputs()}
for output, values in zip(session.get_outputs(), session.run(None, feeds), strict=True):
    print(output.name, values[0])
