"""A fused Relu or Clip in a ``.tflite`` file: an activation of the operator, or operators behind.

LiteRT turns an activation into codes itself, each kernel set in its own way; it is used where all
ways give the codes that the graph states.
"""

from __future__ import annotations

import numpy as np

from deployq.qgraph.nodes import Bounds
from deployq.qparams import QParams
from deployq_exporters.tflite.flatfile import FlatFile
from deployq_exporters.tflite.layout import Shape

FUSING = (
    "ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D",
    "MUL",
)  # fmt: skip
"""Operators that compute a fused activation; CONCATENATION states one and has none."""

ACTIVATIONS = (("RELU", 0.0, np.inf), ("RELU6", 0.0, 6.0), ("RELU_N1_TO_1", -1.0, 1.0))
"""Fused activations with the reals that they leave."""


def fused(bounds: Bounds | None, qparams: QParams) -> str | None:
    """The activation that leaves these codes in every kernel set; None where there is none."""
    if bounds is None:
        return "NONE"
    for name, low, high in ACTIVATIONS:
        if _codes(low, qparams) == {bounds[0]} and _codes(high, qparams) == {bounds[1]}:
            return name
    return None


def _codes(real: float, qparams: QParams) -> set[int]:
    """The codes that the kernel sets take a limit for: half away from zero, or half to even."""
    low, high = qparams.qtype.qmin, qparams.qtype.qmax
    if np.isinf(real):
        return {high}
    steps, zero_point = np.float32(real) / np.float32(qparams.scale), int(qparams.zero_point)
    away = np.sign(steps) * np.floor(np.abs(steps) + np.float32(0.5))
    even = np.rint(steps + np.float32(zero_point)) - zero_point
    return {int(np.clip(code + zero_point, low, high)) for code in (away, even)}


def clamp(
    file: FlatFile, index: int, name: str, shape: Shape, qparams: QParams, bounds: Bounds
) -> int:
    """Add what keeps codes inside their bounds; the index of the tensor that holds them.

    Args:
        index: of the codes.
        name: of the result.
        shape: of both, in the file's order.
    """
    limits = ("MAXIMUM", bounds[0], qparams.qtype.qmin), ("MINIMUM", bounds[1], qparams.qtype.qmax)
    needed = [(code, limit) for code, limit, whole in limits if limit != whole]
    for code, limit in needed:
        last = (code, limit) == needed[-1]
        made = file.codes(name if last else f"{name}.above", shape, qparams)
        edge = file.constant(
            f"{name}.{code.lower()}", np.asarray([limit], qparams.qtype.dtype), qparams
        )
        file.operator(code, [index, edge], made, file.schema.MaximumMinimumOptionsT())
        index = made
    return index
