"""From rounded values to codes."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from deployq.arithmetic.codes import Bounds, clip_range, scale_and_zero
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.qparams import FloatArray, IntArray, QParams

Reals = TypeVar("Reals", FloatArray, Float64Array)


def centred(codes: IntArray, qparams: QParams) -> Int64Array:
    """Codes less their zero point, int64."""
    return codes.astype(np.int64) - scale_and_zero(qparams, "activation")[1]


def nearest(x: FloatArray | Float64Array) -> Int64Array:
    """Nearest integer, ties to even; beyond 2**40 every code saturates."""
    return np.clip(np.rint(x), -(2.0**40), 2.0**40).astype(np.int64)


def in_order_sum(parts: Reals) -> Reals:
    """(..., 1) sums along the last axis, in the type and the order of the elements."""
    total = np.zeros_like(parts[..., :1])
    for index in range(parts.shape[-1]):
        total += parts[..., index : index + 1]
    return total


def saturate(values: Int64Array, out: QParams, bounds: Bounds | None) -> IntArray:
    """Integers clipped to the codes of ``out`` (and to ``bounds``), in its NumPy type."""
    low, high = clip_range(out, bounds)
    return np.clip(values, low, high).astype(out.qtype.dtype)


def to_codes(values: Int64Array, out: QParams, bounds: Bounds | None) -> IntArray:
    """Zero point added, then saturated."""
    return saturate(values + scale_and_zero(out, "output")[1], out, bounds)
