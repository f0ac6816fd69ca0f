"""Run ONNX files in ONNX Runtime: outputs, times, and the share of MACs in integer kernels."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from deployq.data import Dataset

Array = npt.NDArray[Any]
INTEGER = ("QLinear", "QGemm", "QAttention", "MatMulInteger", "ConvInteger", "DynamicQuantize")
"""Beginnings of the names of operators with integer kernels."""
PRODUCTS = ("Conv", "Gemm", "MatMul")
"""Parts of the names of operators that multiply and accumulate."""


def session(path: Path, *, threads: int = 2, profile: Path | None = None) -> ort.InferenceSession:
    """A session with default optimisation; idle threads do not spin (DESIGN, law 11)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feed(opened: ort.InferenceSession, array: Array) -> dict[str, Array]:
    """The one input of a network, by whatever name the file has for it."""
    return {opened.get_inputs()[0].name: array}


def runs(opened: ort.InferenceSession, array: Array) -> Callable[[], list[Array]]:
    """One run of a session, as often as it is called."""
    inputs = feed(opened, array)
    return lambda: list(opened.run(None, inputs))


def outputs(path: Path, data: Dataset, batch: int = 50) -> list[Array]:
    """Every output of a file over a data set."""
    opened = session(path)
    parts = [
        opened.run(None, feed(opened, next(iter(samples.inputs.values()))))
        for samples in data.batches(batch)
    ]
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def integer_share(path: Path, sample: Array) -> float:
    """Part of the multiply-accumulates that ran in integer kernels, from ONNX Runtime's profile."""
    with tempfile.TemporaryDirectory() as folder:
        opened = session(path, profile=Path(folder) / "run")
        opened.run(None, feed(opened, sample))
        events = json.loads(Path(opened.end_profiling()).read_text())
    return share_of(events)


def share_of(events: Iterable[Mapping[str, Any]]) -> float:
    """The integer share of a profile's events; 0 where nothing multiplies."""
    total = integer = 0
    for event in events:
        facts = event.get("args", {})
        operator = str(facts.get("op_name", ""))
        if "output_type_shape" in facts and any(part in operator for part in PRODUCTS):
            macs = _macs(facts)
            total += macs
            integer += macs * operator.startswith(INTEGER)
    return integer / max(total, 1)


def _macs(facts: Mapping[str, Any]) -> int:
    """Outputs times products an output: of a convolution I/g x kH x kW, of a matrix product K."""
    inputs = [shape for entry in facts["input_type_shape"] for shape in entry.values()]
    wide = [shape for shape in inputs if len(shape) >= 2]
    out = math.prod(next(iter(facts["output_type_shape"][0].values())))
    if len(wide) < 2:
        return out
    convolution = "Conv" in str(facts["op_name"])
    return int(out * (math.prod(wide[1][1:]) if convolution else wide[0][-1]))
