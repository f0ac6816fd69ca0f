"""A bundle's file in LiteRT: codes in, codes out, channels last.

deployq export ... --runtime litert -o BUNDLE
python examples/runtimes/in_litert.py BUNDLE
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

bundle = Path(sys.argv[1])
golden = np.load(bundle / "golden.npz")
interpreter = Interpreter(str(bundle / "model.tflite"))
interpreter.allocate_tensors()
for detail in interpreter.get_input_details():
    (scale,), (zero_point,) = (
        detail["quantization_parameters"][k] for k in ("scales", "zero_points")
    )
    x = golden[f"input/{detail['name'].removesuffix('.codes')}"][:1]
    x = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
    info = np.iinfo(detail["dtype"])
    codes = np.clip(np.rint(x / scale) + zero_point, info.min, info.max).astype(detail["dtype"])
    interpreter.set_tensor(detail["index"], codes)
interpreter.invoke()
for detail in interpreter.get_output_details():
    print(detail["name"], interpreter.get_tensor(detail["index"])[0])
