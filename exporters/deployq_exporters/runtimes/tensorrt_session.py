"""Engines run on a CUDA device, through the interface that TensorRT and TensorRT for RTX share.

torch holds the memory and the events. Tests run it over a pretended device; no real one was at
hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deployq.errors import InputError
from deployq_exporters.runtimes.tensorrt import find_package, package_log
from deployq_exporters.runtimes.tensorrt_layers import EngineLayer, inspected_layers
from deployq_exporters.runtimes.typed_inputs import typed_input

Array = npt.NDArray[Any]


def has_device() -> bool:
    """True where torch can use a CUDA device."""
    return torch.cuda.is_available()


class Session:
    """One engine on the device of the process.

    Args:
        plan: the serialized engine.

    Raises:
        InputError: no device, no package, or an engine that does not open here.
    """

    def __init__(self, plan: bytes) -> None:
        _check_device()
        self._trt, self._log = find_package().module, package_log()
        self._log.clear()
        self._runtime = self._trt.Runtime(self._log)  # outlives what it opens
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise InputError(
                "engine",
                f"{find_package()} opens it on this device",
                found=self._log.errors() or "nothing said",
                next_step="build it with this package, for this device",
            )
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        output = self._trt.TensorIOMode.OUTPUT
        self._outputs = [n for n in names if self._engine.get_tensor_mode(n) == output]
        self._inputs = [n for n in names if n not in self._outputs]

    @property
    def most_samples(self) -> int:
        """The greatest batch that it was built for."""
        first = self._inputs[0]
        size = int(self._engine.get_tensor_shape(first)[0])
        if size > 0:
            return size
        return int(self._engine.get_tensor_profile_shape(first, 0)[2][0])

    def layers(self) -> tuple[EngineLayer, ...]:
        """The kernels, by the engine's inspector; empty where it knows names alone."""
        inspector = self._engine.create_engine_inspector()
        content = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        return inspected_layers(content)

    def run(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], float]:
        """Graph outputs by name, (N, ...), and milliseconds by CUDA events, copies left out.

        Args:
            inputs: graph input to array, (N, ...), N at most :attr:`most_samples`.

        Raises:
            InputError: the engine refuses the inputs or does not run, in its own words.
        """
        self._log.clear()
        stream: torch.cuda.Stream = _new(torch.cuda.Stream)
        held = self._bind(inputs)
        stream.wait_stream(torch.cuda.current_stream())  # the copies to the device
        begin, end = (_new(torch.cuda.Event, enable_timing=True) for _ in range(2))
        begin.record(stream)
        self._accept(self._context.execute_async_v3(stream.cuda_stream), "the engine", "a run")
        end.record(stream)
        stream.synchronize()
        outputs = {name: held[name].cpu().numpy() for name in self._outputs}
        return outputs, float(begin.elapsed_time(end))

    def _bind(self, inputs: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        """Inputs and outputs on the device, at the addresses that the engine is told.

        It is told no more than that, and would read bytes of another type as its own.
        """
        held = {n: _on_device(typed_input(n, self._dtype(n), inputs)) for n in self._inputs}
        for name, tensor in held.items():
            shape = tuple(tensor.shape)
            self._accept(self._context.set_input_shape(name, shape), f"input {name}", str(shape))
        for name in self._outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            held[name] = _on_device(np.empty(shape, self._dtype(name)))
        for name, tensor in held.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        return held

    def _dtype(self, name: str) -> np.dtype[Any]:
        kind: np.dtype[Any] = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        return kind

    def _accept(self, done: bool, where: str, found: str) -> None:
        if not done:
            raise InputError(
                where,
                "the engine takes its inputs and runs",
                found=f"{found}: {self._log.errors()}",
                allowed=f"batches of at most {self.most_samples}",
            )


def _on_device(array: Array) -> torch.Tensor:
    return torch.tensor(array).cuda()  # a copy: what was read from a file may not be writable


def _new(kind: Any, **stated: bool) -> Any:
    """An object of torch.cuda, whose constructors have no types."""
    return kind(**stated)


def _check_device() -> None:
    if not has_device():
        raise InputError(
            "TensorRT",
            "an engine runs on a CUDA device",
            found="none that torch can use",
            next_step="build here, and run the engine on a machine with a device and a torch for "
            "CUDA",
        )
