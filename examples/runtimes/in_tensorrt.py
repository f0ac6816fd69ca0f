"""A bundle's file in TensorRT, or TensorRT for RTX: an engine is built, and run on a CUDA device.

deployq export ... --target tensorrt --runtime tensorrt -o BUNDLE
python examples/runtimes/in_tensorrt.py BUNDLE
"""

import sys
from pathlib import Path

import numpy as np
import torch  # the device's memory: TensorRT's package has none

try:
    import tensorrt as trt
except ImportError:
    import tensorrt_rtx as trt

bundle = Path(sys.argv[1])
golden = np.load(bundle / "golden.npz")
log = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(log)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, log)
if not parser.parse((bundle / "model.tensorrt.onnx").read_bytes()):
    sys.exit(parser.get_error(0).desc())
config, profile = builder.create_builder_config(), builder.create_optimization_profile()
for tensor in map(network.get_input, range(network.num_inputs)):
    sample = (1, *tensor.shape[1:])
    profile.set_shape(tensor.name, sample, sample, sample)
config.add_optimization_profile(profile)
plan = builder.build_serialized_network(network, config)
print(f"built by {trt.__name__} {trt.__version__}: {plan.nbytes} bytes")
if not torch.cuda.is_available():
    print("not run: no CUDA device that torch can use")
    sys.exit()
engine = trt.Runtime(log).deserialize_cuda_engine(plan)
context, held = engine.create_execution_context(), {}
for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
    if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
        held[name] = torch.from_numpy(golden[f"input/{name}"][:1].copy()).cuda()
        context.set_input_shape(name, tuple(held[name].shape))
    else:
        kind = trt.nptype(engine.get_tensor_dtype(name))
        held[name] = torch.from_numpy(np.empty(tuple(context.get_tensor_shape(name)), kind)).cuda()
    context.set_tensor_address(name, held[name].data_ptr())
context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
for output in golden:
    if output.startswith("output/"):
        name = output.removeprefix("output/")
        print(name, held[name].cpu().numpy()[0])
