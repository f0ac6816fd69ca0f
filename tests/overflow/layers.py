"""Graphs of one layer, and profiles with an accumulator of any width."""

from __future__ import annotations

from typing import Any

import numpy as np

from deployq.arithmetic.contract import Overflow
from deployq.arithmetic.geometry import ConvGeometry
from deployq.qgraph import IntegerGraph
from deployq.qgraph.nodes import Linear, MatMul, Node
from deployq.qparams import IntArray, PerChannel, QParams
from deployq.qtypes import QType
from deployq_targets import TargetProfile, load_profile

S8, U8 = QType(8, True), QType(8, False)


def register(bits: int, overflow: Overflow = Overflow.WRAP, base: str = "ort-cpu") -> TargetProfile:
    """A builtin profile with another accumulator."""
    profile = load_profile(base)
    accumulator = profile.accumulator.model_copy(update={"bits": bits, "overflow": overflow})
    return profile.model_copy(update={"accumulator": accumulator})


def params(qtype: QType, scale: float = 1.0, zero_point: int = 0) -> QParams:
    return QParams(qtype, np.float32(scale), np.int64(zero_point))


def graph(node: Node, inputs: dict[str, QParams], **constants: IntArray) -> IntegerGraph:
    """One node that writes ``y``; all its inputs but the constants are inputs of the graph."""
    fed = tuple(name for name in inputs if name not in constants)
    qparams = {**inputs, "y": params(S8, 1000.0, 3)}
    return IntegerGraph((node,), qparams, fed, ("y",), constants)


def linear(
    op_type: str, weight: Any, bias: Any = None, *, x: QParams | None = None,
    geometry: ConvGeometry | None = None, zero_points: Any = None,
) -> IntegerGraph:  # fmt: skip
    """A layer of s8 weights over u8 codes, with a zero point for the layer or for each channel."""
    weight, axis = np.asarray(weight), 0 if op_type.startswith("Conv") else 1
    held = params(S8)
    if zero_points is not None:
        size = len(zero_points)
        held = QParams(S8, np.ones(size, np.float32), np.asarray(zero_points), PerChannel(axis))
    node = Linear(
        name="layer", op_type=op_type, inputs=("x",), output="y", weight=weight,
        weight_qparams=held, bias=None if bias is None else np.asarray(bias),
        geometry=geometry or ConvGeometry(),
    )  # fmt: skip
    return graph(node, {"x": x or params(U8, zero_point=100)})


def matmul(qparams: dict[str, QParams], **constants: IntArray) -> IntegerGraph:
    """The product of two code tensors, named in order."""
    left, right = (*qparams, *qparams)[:2]
    node = MatMul(name="layer", op_type="MatMul", inputs=(left, right), output="y", shifted=False)
    return graph(node, qparams, **constants)
