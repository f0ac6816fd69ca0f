"""TensorRT's interface over a device that exists in tests alone.

A plan is an ONNX file; its engine reads and writes memory at the addresses that it is told, as the
documentation of the real one says, and ONNX Runtime computes. ``use`` puts it, and a CUDA device
whose memory is the processor's, in place.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from deployq_exporters.runtimes import tensorrt

NAME = "tensorrt_rtx"
MOST = 2
"""Samples that an engine was built for."""

ELAPSED = 0.25
"""Milliseconds between any two events."""


class Logger:
    """The base of every logger."""

    WARNING, ERROR, INTERNAL_ERROR = "warning", "error", "internal"

    def log(self, severity: str, message: str) -> None:
        raise NotImplementedError


class Context:
    """An engine's memory."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.shapes, self.addresses = engine, dict[str, Any](), dict[str, int]()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if shape[0] > MOST:
            self.engine.log.log(Logger.ERROR, f"{name} has {shape[0]} samples")
            return False
        self.shapes[name] = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        first = next(iter(self.shapes.values()))
        return (first[0], *self.engine.get_tensor_shape(name)[1:])

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == Stream.cuda_stream
        if self.engine.broken:
            self.engine.log.log(Logger.ERROR, "out of memory")
            return False
        assert Stream.waited, "the inputs may still be on their way"
        Stream.work.append(self._run)
        return True

    def _run(self) -> None:
        names = [value.name for value in self.engine.session.get_inputs()]
        outputs = self.engine.session.run(None, {name: self.memory(name).copy() for name in names})
        for value, array in zip(self.engine.session.get_outputs(), outputs, strict=True):
            self.memory(value.name)[...] = array

    def memory(self, name: str) -> np.ndarray[Any, Any]:
        shape = self.shapes.get(name) or self.get_tensor_shape(name)
        place = (ctypes.c_float * int(np.prod(shape))).from_address(self.addresses[name])
        return np.frombuffer(place, np.float32).reshape(shape)


class Engine:
    """Of one file, all of whose products run on codes."""

    broken = False

    def __init__(self, plan: bytes, log: Any) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = ort.InferenceSession(plan, options)
        self.model, self.log = onnx.load_from_string(plan), log
        self.values = {v.name: v for v in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.values)

    def get_tensor_name(self, index: int) -> str:
        return list(self.values)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "output" if name in {v.name for v in self.session.get_outputs()} else "input"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.values[name].shape[1:])

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(size, *self.values[name].shape[1:]) for size in (1, 1, MOST)]

    def get_tensor_dtype(self, name: str) -> str:
        return self.values[name].type

    def create_execution_context(self) -> Context:
        return Context(self)

    def create_engine_inspector(self) -> Engine:
        return self

    def get_engine_information(self, form: str) -> str:
        """As full TensorRT 10 writes it."""
        assert form == "json"
        codes = {"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}
        return json.dumps({"Layers": [
            {
                "Name": node.name, "LayerType": "CaskConvolution", "Inputs": [codes],
                "Outputs": [codes], "Weights": {"Type": "Int8", "Count": 1},
                "Bias": {"Type": "Float", "Count": 1}, "Metadata": f"[ONNX Layer: {node.name}]",
            }
            for node in self.model.graph.node
        ]})  # fmt: skip


class Runtime:
    """Opens plans, and says why not."""

    def __init__(self, log: Any) -> None:
        self.log = log

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if plan.startswith(b"another version"):
            self.log.log(Logger.ERROR, "stale plan")
            return None
        return Engine(plan, self.log)


class Stream:
    """Runs what it is given when somebody waits for it; there is one at a time."""

    cuda_stream = 7
    work: ClassVar[list[Callable[[], None]]] = []
    waited = False

    def __init__(self) -> None:
        Stream.waited = False
        Stream.work.clear()

    def wait_stream(self, other: SimpleNamespace) -> None:
        Stream.waited = True

    def synchronize(self) -> None:
        while Stream.work:
            Stream.work.pop(0)()


class Event:
    """A clock of equal steps."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: Stream) -> None: ...

    def elapsed_time(self, end: Event) -> float:
        return ELAPSED


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Package and device, for one test."""
    module: Any = ModuleType(NAME)
    module.__version__ = "1.7"
    module.ILogger, module.Runtime = Logger, Runtime
    module.TensorIOMode = SimpleNamespace(OUTPUT="output")
    module.LayerInformationFormat = SimpleNamespace(JSON="json")
    module.nptype = lambda kind: {"tensor(float)": np.float32}[kind]
    monkeypatch.setitem(sys.modules, NAME, module)
    monkeypatch.setattr(tensorrt, "installed", lambda name="": name in ("", NAME))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", SimpleNamespace)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    tensorrt.find_package.cache_clear()
    tensorrt.package_log.cache_clear()
