"""Average and max pools over (N, C, H, W) codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deployq.arithmetic.codes import Bounds, code_offset, scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.geometry import PoolGeometry
from deployq.arithmetic.multiplier import multiply
from deployq.arithmetic.oracle.codes import centred, nearest, saturate, to_codes
from deployq.arithmetic.requant_words import Averaging, ZeroPointPlace
from deployq.arithmetic.rounding import Int64Array
from deployq.arithmetic.scales import (
    check_kept,
    kernel_zero,
    mean_constant,
    mean_multiplier,
    mean_real,
    moved_zero,
)
from deployq.qparams import IntArray, QParams


def global_average_pool(
    x: IntArray, qx: QParams, out: QParams, form: Form, *, bounds: Bounds | None = None
) -> IntArray:
    """Codes of the mean over H and W.

    FLOAT32 is ONNX Runtime's QLinearGlobalAveragePool; EXACT, FIXED and SHIFT rescale the integer
    sum once by ``s_x / (H W s_y)``, or as ``form.averaging`` says.

    Args:
        x: (N, C, H, W) codes.
        qx, out: parameters, per tensor.
        bounds: lowest and highest code of a fused Relu or Clip.

    Returns:
        (N, C, 1, 1) codes in ``out.qtype.dtype``.

    Raises:
        UnsupportedError: the kind of the form has no GlobalAveragePool.
        QuantizationError: the form cannot express the multiplier (a SHIFT needs H W = 2**k).
    """
    rescale = pick("GlobalAveragePool", _GLOBAL, form)
    total = centred(x, qx).sum(axis=(2, 3), keepdims=True)
    count = np.asarray(x.shape[2] * x.shape[3], np.int64)
    return to_codes(rescale(total, count, qx, out, form), out, bounds)


def average_pool(
    x: IntArray,
    qx: QParams,
    out: QParams,
    form: Form,
    geometry: PoolGeometry,
    *,
    bounds: Bounds | None = None,
) -> IntArray:
    """Codes of the mean over each window; arguments and errors as in ``global_average_pool``.

    FLOAT32 is ONNX Runtime's QLinearAveragePool: reals summed in row order in float32, with the
    zero point inside the rounding; a window that is the whole map takes the global formula.

    Returns:
        (N, C, H', W') codes in ``out.qtype.dtype``.
    """
    size = (x.shape[2], x.shape[3])
    if geometry.covers(size):
        return global_average_pool(x, qx, out, form, bounds=bounds)
    pool = pick("AveragePool", _AVERAGE, form)
    return pool(x, qx, out, form, geometry, bounds)


def max_pool(x: IntArray, geometry: PoolGeometry) -> IntArray:
    """Highest code below each window (a padding cell never wins), (N, C, H', W') as ``x``."""
    size = (x.shape[2], x.shape[3])
    result = np.zeros((*x.shape[:2], *geometry.output_size(size)), x.dtype)
    for row, column in np.ndindex(*result.shape[2:]):
        rows, columns = geometry.window(size, row, column)
        result[:, :, row, column] = x[:, :, rows, columns].max(axis=(2, 3))
    return result


def _global_float32(
    total: Int64Array, count: Int64Array, qx: QParams, out: QParams, form: Form
) -> Int64Array:
    real, zero = mean_real(qx, out, count, form).astype(np.float32), int(out.zero_point)
    if form.zero_point is ZeroPointPlace.APART:
        raw = total + count * scale_and_zero(qx, "input")[1]
        return nearest(raw.astype(np.float32) * real + mean_constant(qx, out, count, real)) - zero
    scaled = total.astype(np.float32) * real
    if form.zero_point is not ZeroPointPlace.BEFORE_ROUNDING:
        return nearest(scaled)
    return nearest(scaled + np.float32(zero)) - zero


def _mean_exact(
    total: Int64Array, count: Int64Array, qx: QParams, out: QParams, form: Form
) -> Int64Array:
    (sx, _), (sy, _) = scale_and_zero(qx, "input"), scale_and_zero(out, "output")
    return nearest(total.astype(np.float64) * np.float64(sx) / (count * np.float64(sy)))


def _mean_fixed(
    total: Int64Array, count: Int64Array, qx: QParams, out: QParams, form: Form
) -> Int64Array:
    raw = total + count * scale_and_zero(qx, "input")[1]
    if form.averaging in (Averaging.KEPT_SUM, Averaging.RAW_CODES):
        check_kept(qx, out)
    if form.averaging is Averaging.RAW_CODES:
        mean: Int64Array = np.sign(raw) * ((np.abs(raw) + count // 2) // count)
        return mean - scale_and_zero(out, "output")[1]
    chosen = mean_multiplier(qx, out, count, form)
    if form.zero_point is ZeroPointPlace.APART:
        return multiply(raw, chosen, form.rounding) - moved_zero(qx, out, form)
    return multiply(total, chosen, form.rounding)


def _average_float32(
    x: IntArray,
    qx: QParams,
    out: QParams,
    form: Form,
    geometry: PoolGeometry,
    bounds: Bounds | None,
) -> IntArray:
    (sx, _), (sy, _) = scale_and_zero(qx, "input"), scale_and_zero(out, "output")
    size = (x.shape[2], x.shape[3])
    real = centred(x, qx).astype(np.float32) * sx
    result = np.zeros((*x.shape[:2], *geometry.output_size(size)), np.float32)
    for row, column in np.ndindex(*result.shape[2:]):
        window = real[(..., *geometry.window(size, row, column))]
        total = np.zeros(x.shape[:2], np.float32)
        for i, j in np.ndindex(*window.shape[2:]):  # row order: float32 sums depend on it
            total = total + window[:, :, i, j]
        result[:, :, row, column] = total / np.float32(geometry.divisor(size, row, column))
    value = nearest(result / sy + kernel_zero(out, form)) - code_offset(out, form)
    return saturate(value, out, bounds)


def _average_integer(
    x: IntArray,
    qx: QParams,
    out: QParams,
    form: Form,
    geometry: PoolGeometry,
    bounds: Bounds | None,
) -> IntArray:
    size = (x.shape[2], x.shape[3])
    value = centred(x, qx)
    total = np.zeros((*x.shape[:2], *geometry.output_size(size)), np.int64)
    count = np.zeros(total.shape[2:], np.int64)
    for row, column in np.ndindex(*count.shape):
        window = value[(..., *geometry.window(size, row, column))]
        total[:, :, row, column] = window.sum(axis=(2, 3))
        count[row, column] = geometry.divisor(size, row, column)
    return to_codes(_GLOBAL[form.kind](total, count, qx, out, form), out, bounds)


_Mean = Callable[[Int64Array, Int64Array, QParams, QParams, Form], Int64Array]
_Average = Callable[[IntArray, QParams, QParams, Form, PoolGeometry, "Bounds | None"], IntArray]
_GLOBAL: dict[Kind, _Mean] = {
    Kind.EXACT: _mean_exact,
    Kind.FLOAT32: _global_float32,
    Kind.FIXED: _mean_fixed,
    Kind.SHIFT: _mean_fixed,
}
_AVERAGE: dict[Kind, _Average] = {
    Kind.EXACT: _average_integer,
    Kind.FLOAT32: _average_float32,
    Kind.FIXED: _average_integer,
    Kind.SHIFT: _average_integer,
}
