"""From accumulators to codes: the requantization of Conv, Gemm and MatMul."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq.arithmetic.addends import addend_ratio
from deployq.arithmetic.codes import Bounds
from deployq.arithmetic.contract import Accumulator, Form, Kind, Overflow
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.folding import cut_offsets, folded_zero
from deployq.arithmetic.late_bias import late_steps, late_units
from deployq.arithmetic.layer_scales import LayerScales
from deployq.arithmetic.multiplier import choose_fixed, multiply, multiply_split
from deployq.arithmetic.oracle.codes import centred, nearest, saturate, to_codes
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.arithmetic.scales import shape_along
from deployq.errors import AccumulatorOverflowError
from deployq.qparams import FloatArray, IntArray, QParams


def requantize(
    acc: Int64Array,
    x_scale: FloatArray | np.float32,
    w_scale: FloatArray | np.float32,
    out: QParams,
    form: Form,
    *,
    channel_axis: int = 1,
    bounds: Bounds | None = None,
    bias: IntArray | None = None,
    removed: IntArray | None = None,
    late: Float64Array | None = None,
    addend: tuple[IntArray, QParams] | None = None,
) -> IntArray:
    """``acc * s_x * s_w / s_y`` rounded as ``form`` says, plus the zero point, saturated.

    Thresholds give what real arithmetic does with their rounding.

    Args:
        acc: int64 sums.
        x_scale: float32 scale of the activation, rank 0.
        w_scale: float32 scale of the weight, one or (C,) along ``channel_axis`` of ``acc``.
        out: parameters of the output, per tensor.
        bounds: lowest and highest code of a fused Relu or Clip.
        bias: (C,) codes that ``acc`` holds, for a zero point in the accumulator: it rounds with it.
        removed: (C,) ``z_x`` times the sums of the weights, for a cut of the raw sum's bits.
        late: float64 (C,) reals that are added after the multiplication; a fixed multiplier adds
            the nearest steps of ``s_y * 2**-shift``.
        addend: codes of the shape of ``acc`` and their parameters, added before the rounding (see
            ``arithmetic.addends``).

    Returns:
        Codes of the shape of ``acc`` in ``out.qtype.dtype``.

    Raises:
        UnsupportedError: the kind of the form has no requantization, or no place for a bias, or
            thresholds would make codes of more than 8 bits.
        QuantizationError: the form cannot express a multiplier.
        AccumulatorOverflowError: accumulator times mantissa is too long (see ``multiply``).
    """
    layer = LayerScales(x_scale, w_scale, out, acc.ndim, channel_axis)
    rescale = pick("requantize", _FORMS, form)
    added = None if late is None else late_units(late, acc.ndim, channel_axis, out, form)
    if addend is not None:
        value: Reals = _reals(acc, layer, form, added)
        more = centred(*addend).astype(value.dtype) * addend_ratio(addend[1], out, form)
        return to_codes(nearest(value + more), out, bounds)
    if form.folds_zero:
        folded = folded_zero(layer, form, bias)
        if form.sum_cut:
            before, after = cut_offsets(bias, folded, removed, form.sum_cut, layer)
            kept = ((acc + before) >> form.sum_cut) + after
            return saturate(rescale(kept, layer, form, None), out, bounds)
        return saturate(rescale(acc + folded, layer, form, None), out, bounds)
    return to_codes(rescale(acc, layer, form, added), out, bounds)


Reals = npt.NDArray[Any]
_Late = Float64Array | None
"""Of :func:`late_units`."""


def _float32(acc: Int64Array, layer: LayerScales, form: Form, late: _Late) -> Int64Array:
    return nearest(_reals(acc, layer, form, late))


def _exact(acc: Int64Array, layer: LayerScales, form: Form, late: _Late) -> Int64Array:
    return nearest(_reals(acc, layer, form, late))


def _reals(acc: Int64Array, layer: LayerScales, form: Form, late: _Late) -> Reals:
    """In units of the output's scale, before the rounding: float32, or float64 where exact."""
    kind: Any = np.float32 if form.kind is Kind.FLOAT32 else np.float64
    value: Reals = acc.astype(kind) * layer.real(form).astype(kind)
    return value if late is None else value + late


def _fixed(acc: Int64Array, layer: LayerScales, form: Form, late: _Late) -> Int64Array:
    chosen = choose_fixed(np.ldexp(layer.real(form), form.sum_cut), form)
    if form.post_shift is not None:
        return multiply_split(acc, chosen, form.post_shift, form.rounding)
    steps = None if late is None else late_steps(late, chosen)
    return multiply(acc, chosen, form.rounding, steps)


def _thresholds(acc: Int64Array, layer: LayerScales, form: Form, late: _Late) -> Int64Array:
    codes = np.full_like(acc, layer.lowest)
    for reached in layer.thresholds(form).T:  # of each channel, or of all
        codes += acc >= reached.reshape(shape_along(layer.rank, layer.axis))
    return codes


_FORMS: dict[Kind, Callable[[Int64Array, LayerScales, Form, _Late], Int64Array]] = {
    Kind.EXACT: _exact,
    Kind.FLOAT32: _float32,
    Kind.FIXED: _fixed,
    Kind.SHIFT: _fixed,
    Kind.THRESHOLDS: _thresholds,
}


def real_sums(
    acc: Int64Array,
    x_scale: FloatArray | np.float32,
    w_scale: FloatArray | np.float32,
    *,
    channel_axis: int = 1,
    late: Float64Array | None = None,
) -> npt.NDArray[np.float32]:
    """``acc * s_x * s_w`` and reals beside them, in float64, rounded once to float32.

    What a product returns where no QuantizeLinear follows it. Runtimes compute it in float32, in
    orders of their own (ONNX Runtime's MatMulIntegerToFloat): they differ in the last bit.

    Args:
        acc: finished sums.
        x_scale, w_scale: float32, of the activation, and of the weight, one or (C,).
        channel_axis: of the sums.
        late: (C,) biases that the sums do not hold.
    """
    along = shape_along(acc.ndim, channel_axis)
    reals = acc * (np.float64(x_scale) * np.asarray(w_scale, np.float64).reshape(along))
    if late is not None:
        reals = reals + late.reshape(along)
    return np.asarray(reals, np.float32)


def fit_accumulator(
    acc: Int64Array, accumulator: Accumulator, where: str, *, channel_axis: int = 1
) -> Int64Array:
    """The finished sums as an accumulator of this width holds them.

    Wrapping does not depend on the order of the additions. Saturation here acts on the finished
    sum; hardware that saturates after each step can differ when a partial sum leaves the range.

    Args:
        acc: int64 sums, any shape.
        where: name of the layer, for the error.
        channel_axis: axis of the output channels, for the error.

    Raises:
        AccumulatorOverflowError: the contract rejects overflow and a sum leaves the range.
    """
    if accumulator.bits >= 64:
        return acc
    return _OVERFLOW[accumulator.overflow](acc, accumulator, where, channel_axis)


def _wrap(acc: Int64Array, accumulator: Accumulator, where: str, axis: int) -> Int64Array:
    mask = np.int64((1 << accumulator.bits) - 1)
    low_bits = acc & mask
    return np.where(low_bits > accumulator.high, low_bits | ~mask, low_bits)


def _saturate(acc: Int64Array, accumulator: Accumulator, where: str, axis: int) -> Int64Array:
    return np.clip(acc, accumulator.low, accumulator.high)


def _reject(acc: Int64Array, accumulator: Accumulator, where: str, axis: int) -> Int64Array:
    outside = (acc < accumulator.low) | (acc > accumulator.high)
    if outside.any():
        index = tuple(int(i[0]) for i in np.nonzero(outside))
        raise overflow_error(int(acc[index]), index[axis], accumulator, where)
    return acc


def overflow_error(
    found: int, channel: int, accumulator: Accumulator, where: str
) -> AccumulatorOverflowError:
    """The error of a sum that leaves an accumulator whose contract says reject."""
    return AccumulatorOverflowError(
        f"{where}, output channel {channel}",
        f"every sum fits the {accumulator.bits}-bit accumulator",
        found=str(found),
        allowed=f"{accumulator.low}..{accumulator.high}",
        next_step="use fewer weight or activation bits in this layer",
    )


_OVERFLOW: dict[Overflow, Callable[[Int64Array, Accumulator, str, int], Int64Array]] = {
    Overflow.WRAP: _wrap,
    Overflow.SATURATE: _saturate,
    Overflow.REJECT: _reject,
}
