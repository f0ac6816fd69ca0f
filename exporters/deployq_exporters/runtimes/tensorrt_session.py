"""Engines run on a CUDA device, through the interface that TensorRT and TensorRT for RTX share.

torch holds the memory and the events. Nothing here but its refusals was ever run: no device was at
hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deployq.errors import InputError
from deployq_exporters.runtimes.tensorrt import Engine, find_package
from deployq_exporters.runtimes.tensorrt_layers import EngineLayer, inspected_layers

Array = npt.NDArray[Any]
WARM_UP = 10


class Session:
    """One engine on the device of the process.

    Raises:
        InputError: no device, no package, or an engine that does not open here.
    """

    def __init__(self, engine: Engine) -> None:
        _check_device()
        trt = find_package().module
        self._trt = trt
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))  # outlives what it opens
        self._engine = self._runtime.deserialize_cuda_engine(engine.plan)
        if self._engine is None:
            raise InputError(
                "engine",
                "opens on this device",
                found=f"built by {engine.package}, {find_package()} is here",
                next_step="build it with this package, for this device",
            )
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        output = trt.TensorIOMode.OUTPUT
        self._outputs = [n for n in names if self._engine.get_tensor_mode(n) == output]

    def layers(self) -> tuple[EngineLayer, ...]:
        """The kernels, by the engine's inspector."""
        inspector = self._engine.create_engine_inspector()
        content = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        return inspected_layers(content)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Graph outputs by name, (N, ...)."""
        stream: torch.cuda.Stream = _new(torch.cuda.Stream)
        held = self._bind(inputs)
        stream.wait_stream(torch.cuda.current_stream())  # the copies to the device
        self._context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return {name: held[name].cpu().numpy() for name in self._outputs}

    def latencies(self, inputs: Mapping[str, Array], runs: int) -> npt.NDArray[np.float64]:
        """Milliseconds of each of (runs,) runs by CUDA events, copies of the inputs left out."""
        stream: torch.cuda.Stream = _new(torch.cuda.Stream)
        held = self._bind(inputs)  # kept while it runs
        stream.wait_stream(torch.cuda.current_stream())
        times = []
        for _ in range(WARM_UP + runs):
            begin, end = (_new(torch.cuda.Event, enable_timing=True) for _ in range(2))
            begin.record(stream)
            self._context.execute_async_v3(stream.cuda_stream)
            end.record(stream)
            end.synchronize()
            times.append(begin.elapsed_time(end))
        del held
        return np.array(times[WARM_UP:])

    def _bind(self, inputs: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        """Inputs and outputs on the device, at the addresses that the engine is told."""
        held = {
            name: torch.from_numpy(np.ascontiguousarray(array)).cuda()
            for name, array in inputs.items()
        }
        for name, tensor in held.items():
            self._context.set_input_shape(name, tuple(tensor.shape))
        for name in self._outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            kind = self._trt.nptype(self._engine.get_tensor_dtype(name))
            held[name] = torch.from_numpy(np.empty(shape, kind)).cuda()
        for name, tensor in held.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        return held


def _new(kind: Any, **stated: bool) -> Any:
    """An object of torch.cuda, whose constructors have no types."""
    return kind(**stated)


def _check_device() -> None:
    if not torch.cuda.is_available():
        raise InputError(
            "TensorRT",
            "an engine runs on a CUDA device",
            found="none that torch can use",
            next_step="build here, and run the engine on a machine with a device and a torch for "
            "CUDA",
        )
