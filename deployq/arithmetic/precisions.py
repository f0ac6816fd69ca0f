"""The real multiplier of a layer, in the precision that a kernel computes it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from deployq.arithmetic.requant_words import ScalePrecision
from deployq.arithmetic.rounding import Float64Array
from deployq.qparams import FloatArray

_Steps = Callable[[np.float32, FloatArray, np.float32], FloatArray]
"""From ``s_x``, ``s_w`` and ``s_y`` in float32."""


def real_multiplier(
    x_scale: np.float32,
    w_scale: FloatArray | np.float32,
    y_scale: np.float32,
    precision: ScalePrecision = ScalePrecision.F64,
) -> Float64Array:
    """``s_x * s_w / s_y`` as float64; there the product of two float32 is exact.

    Args:
        w_scale: all scales of the layer.
        precision: of the steps.
    """
    weights = np.asarray(w_scale, np.float32)
    one = ScalePrecision.F32_PRODUCT if weights.size == 1 else ScalePrecision.F64
    steps = one if precision is ScalePrecision.F32_PRODUCT_OF_ONE else precision
    real = _STEPS[steps](np.float32(x_scale), weights, np.float32(y_scale))
    return np.asarray(real, np.float64)


LEAST, RAISED = np.float32(2**-24), np.float32(7e-8)
"""What some of HTP's kernels take for a multiplier below the first: the second."""


def relative(x: np.float32, w: FloatArray, y: np.float32) -> FloatArray:
    """By way of the largest weight scale, in steps of float32."""
    return np.asarray(x * w.max() / y * (w / w.max()))


def _raised(x: np.float32, w: FloatArray, y: np.float32) -> FloatArray:
    real = relative(x, w, y)
    return np.where(real < LEAST, RAISED, real)


_STEPS: Mapping[ScalePrecision, _Steps] = {
    ScalePrecision.F64: lambda x, w, y: np.float64(x) * w.astype(np.float64) / np.float64(y),
    ScalePrecision.F32: lambda x, w, y: x * w / y,
    ScalePrecision.F32_PRODUCT: lambda x, w, y: (x * w).astype(np.float64) / np.float64(y),
    ScalePrecision.F32_RELATIVE: relative,
    ScalePrecision.F32_RELATIVE_RAISED: _raised,
    ScalePrecision.F32_RECIPROCAL: lambda x, w, y: x * w * (np.float32(1) / y),
    ScalePrecision.F32_QUOTIENT: lambda x, w, y: x / y * w,
}

LAYER_PRECISIONS: tuple[ScalePrecision, ...] = (*_STEPS, ScalePrecision.F32_PRODUCT_OF_ONE)
"""Those of a product of two scales over a third; means have one of their own."""
