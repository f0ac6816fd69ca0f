"""What a file of another tool is fed: real images where they are known, else its own range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from benchmarks.models.registry import MODELS
from deployq.opened_file import OpenedFile
from deployq.qgraph import IntegerGraph
from deployq.qgraph.nodes import Quantize

Array = npt.NDArray[Any]
SAMPLES = 16
IMAGES = {
    "mobilenetv2": "imagenet_mobilenet_v2_100",
    "cifar10_tinymobilenet": "cifar10_tinymobilenet",
}
"""Beginning of a file's name to the network whose samples it takes."""


def sample_inputs(path: Path, opened: OpenedFile) -> dict[str, Array]:
    """Reporting samples of a known network; else values spread over the range of the first codes.

    A fixed batch is obeyed.
    """
    known = next((n for start, n in IMAGES.items() if path.name.startswith(start)), None)
    drawn = np.random.default_rng(0)
    found = {}
    for value in opened.model.graph.input:
        if value.name not in opened.graph.inputs:
            continue
        shape = _shape(value)
        if known is None:
            found[value.name] = _spread(opened.graph, value, shape, drawn)
        else:
            found[value.name] = next(iter(MODELS[known].reporting().take(shape[0]).inputs.values()))
    return found


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
    return (dims[0] or SAMPLES, *(d or 1 for d in dims[1:]))


def _spread(
    graph: IntegerGraph, value: onnx.ValueInfoProto, shape: tuple[int, ...], drawn: Any
) -> Array:
    if value.name in graph.qparams:
        kind = graph.qparams[value.name].qtype
        codes: Array = drawn.integers(kind.qmin, kind.qmax + 1, shape).astype(kind.dtype)
        return codes
    first = next(
        (n for n in graph.nodes if isinstance(n, Quantize) and value.name in n.inputs), None
    )
    reals: Array = drawn.standard_normal(shape)
    if first is not None:
        q = graph.qparams[first.output]
        codes = drawn.integers(q.qtype.qmin, q.qtype.qmax + 1, shape)
        reals = (codes - int(q.zero_point) + drawn.uniform(-0.5, 0.5, shape)) * float(q.scale)
    return reals.astype(np.float32)
