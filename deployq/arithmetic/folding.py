"""Bias and output zero point as one number in the accumulator (HTP), in steps of float32::

    s = s_x max(s_w)             v = b s, over r / (s_x s_w / s_y) where r is raised
    u = max |v| / 2**28          of all channels
    together: whole(round_half_even(v (1 / u)) u / s + z_y / r)
    apart:    round_half_even(round_half_even(v (1 / u)) u (1 / s)) + whole(z_y / r)
    whole(t) = t + 1/2 with the sign of t, cut toward zero

with 32 bits of the result, after the cut of a sum's lowest bits where the form has one.

So biases of a layer are stored in one unit, that of the largest: a code of 2**29 leaves the even
ones to all others. A layer with one weight scale has ``b s / s`` in place of that. Source: trials
on Qualcomm's x86 emulator (onnxruntime-qnn 2.7.0), 62,000 channels, most of them designed to lie
within a few units in the last place of where the rounding turns; none differs. Where a channel of
the layer is raised, 8 of 39,000 such channels do.
"""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form
from deployq.arithmetic.float32 import Float32Array
from deployq.arithmetic.layer_scales import LayerScales
from deployq.arithmetic.multiplier import least_multiplier
from deployq.arithmetic.precisions import LEAST, RAISED, relative
from deployq.arithmetic.requant_words import ScalePrecision, ZeroPointPlace
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.arithmetic.scales import along_axis, shape_along
from deployq.qparams import FloatArray, IntArray

ONE, HALF, UNITS = np.float32(1), np.float32(0.5), np.float32(1 << 28)
ZERO_BITS = 30


def folded_zero(layer: LayerScales, form: Form, bias: IntArray | None) -> Int64Array:
    """What joins sums that hold their bias, so that they hold both numbers instead.

    Args:
        layer: all channels of it: they share the unit of the biases.
        form: its zero point goes to the accumulator, with the bias or apart from it.
        bias: (C,) codes in the sums, if any.

    Returns:
        Broadcastable to the sums.
    """
    real = layer.real(form).astype(np.float32)
    zero = np.float32(scale_and_zero(layer.out, "output")[1]) / real
    if bias is None:
        return _held(_whole(zero), form)
    codes = bias.astype(np.int64).reshape(shape_along(layer.rank, layer.axis))
    reals, step = _reals(codes, layer, form), _step(layer)
    if form.zero_point is ZeroPointPlace.ACCUMULATOR_APART:
        whole = np.rint(reals * (ONE / step)).astype(np.int64) + _whole(zero)
    else:
        whole = _whole(reals / step + zero)
    return _held(whole, form) - codes


def roomy_multiplier(units: Float64Array, zero_point: int, form: Form) -> Float64Array:
    """(C,): from which real multiplier on both numbers keep all of their bits, and it has a shift.

    Args:
        units: (C,) biases over the output's scale.
        form: as of :func:`folded_zero`; 0 of every other.
    """
    if not form.folds_zero:
        return np.zeros_like(units)
    wide = float(1 << (ZERO_BITS + form.sum_cut))
    own = form.precision is ScalePrecision.F32_RELATIVE_RAISED and float(LEAST)
    least = max(zero_point / wide, least_multiplier(form), own)
    return np.maximum(np.abs(units) / float(UNITS), least)


def _reals(codes: Int64Array, layer: LayerScales, form: Form) -> Float32Array:
    """What is left of the biases, as reals over the input's scale and the largest weight scale."""
    reals: Float32Array = codes.astype(np.float32) * _step(layer)
    if np.size(layer.w) == 1:
        return reals
    weights = along_axis(layer.w, layer.rank, layer.axis)
    if form.precision is ScalePrecision.F32_RELATIVE_RAISED:
        reals = np.asarray(reals / _raised(weights, layer))
    unit: np.float32 = np.abs(reals).max() / UNITS
    return np.rint(reals * (ONE / unit)) * unit if unit else reals


def _raised(weights: FloatArray, layer: LayerScales) -> Float32Array:
    """By how much the multipliers of ``precisions`` are larger than their own."""
    ends = np.float32(layer.x), scale_and_zero(layer.out, "output")[0]
    low = relative(ends[0], weights, ends[1]) < LEAST
    own: Float32Array = ends[0] * weights / ends[1]
    return np.where(low, RAISED / own, ONE).astype(np.float32)


def _step(layer: LayerScales) -> np.float32:
    largest: np.float32 = np.asarray(layer.w, np.float32).max()
    return np.float32(layer.x) * largest


def _whole(value: Float32Array) -> Int64Array:
    return np.trunc(value + np.copysign(HALF, value)).astype(np.int64)


def _held(whole: Int64Array, form: Form) -> Int64Array:
    """In 32 bits; where the sum loses bits, these lose them first."""
    return whole if form.sum_cut else whole.astype(np.int32).astype(np.int64)


def cut_offsets(
    bias: IntArray | None,
    zero: Int64Array,
    removed: IntArray | None,
    cut: int,
    layer: LayerScales,
) -> tuple[Int64Array, Int64Array]:
    """What joins sums before and behind the cut of their lowest bits (HTP, 16-bit activations)::

        ((acc + before) >> cut) + after = (sum of raw codes >> cut)
            - (z_x * sum of weights rounded half up) + (bias with output zero point rounded down)

    Args:
        bias: (C,) codes in the sums, if any.
        zero: of :func:`folded_zero`.
        removed: (C,) ``z_x * sum of weights``, which the sums hold no more; None: 0.
    """
    shape, none = shape_along(layer.rank, layer.axis), np.zeros(1, np.int64)
    added = (none if bias is None else bias.astype(np.int64)).reshape(shape)
    crossed = (none if removed is None else removed.astype(np.int64)).reshape(shape)
    back = (crossed + (1 << (cut - 1))) >> cut
    joined = ((added + zero) >> cut).astype(np.int32).astype(np.int64)
    return crossed - added, joined - back
