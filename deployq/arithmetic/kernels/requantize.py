"""From accumulators to codes; ``oracle.requantize`` in torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.codes import Bounds
from deployq.arithmetic.contract import Accumulator, Form, Kind, Overflow
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.kernels.codes import saturate, to_codes, to_tensor
from deployq.arithmetic.kernels.multiplier import multiply, multiply_split
from deployq.arithmetic.kernels.precision import FLOAT32_EXACT
from deployq.arithmetic.late_bias import late_steps, late_units
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.oracle.requantize import overflow_error
from deployq.arithmetic.requant_words import ZeroPointPlace
from deployq.arithmetic.rounding import Float64Array
from deployq.arithmetic.scales import folded_zero, layer_multiplier
from deployq.qparams import FloatArray, IntArray, QParams


def requantize(
    acc: Tensor,
    x_scale: FloatArray | np.float32,
    w_scale: FloatArray | np.float32,
    out: QParams,
    form: Form,
    *,
    channel_axis: int = 1,
    bounds: Bounds | None = None,
    bias: IntArray | None = None,
    late: Float64Array | None = None,
) -> Tensor:
    """``acc * s_x * s_w / s_y`` as codes; see ``oracle.requantize.requantize``.

    Args:
        acc: int64, or exact sums in float32, which are overwritten.
    """
    # it has one entry a channel: computed once in NumPy, then moved
    real = layer_multiplier(acc.ndim, channel_axis, x_scale, w_scale, out, form)
    rescale = pick("requantize", _FORMS, form)
    added = None if late is None else late_units(late, acc.ndim, channel_axis, out, form)
    if form.zero_point is ZeroPointPlace.ACCUMULATOR:
        zero = folded_zero(real, x_scale, w_scale, bias, out, acc.ndim, channel_axis)
        folded = torch.as_tensor(zero, device=acc.device)
        return saturate(rescale(acc.long() + folded, real, form, None), out, bounds)
    return to_codes(rescale(acc, real, form, added), out, bounds)


_Late = Float64Array | None
"""Of ``late_units``."""


def _float32(acc: Tensor, real: Float64Array, form: Form, late: _Late) -> Tensor:
    return acc.float().mul_(to_tensor(real.astype(np.float32), acc))


def _exact(acc: Tensor, real: Float64Array, form: Form, late: _Late) -> Tensor:
    value = acc.double() * to_tensor(real, acc)
    return value if late is None else value + to_tensor(late, acc)


def _fixed(acc: Tensor, real: Float64Array, form: Form, late: _Late) -> Tensor:
    chosen = choose_fixed(real, form)
    if form.post_shift is not None:
        return multiply_split(acc, chosen, form.post_shift, form.rounding)
    steps = None if late is None else late_steps(late, chosen)
    return multiply(acc, chosen, form.rounding, steps)


_FORMS: dict[Kind, Callable[[Tensor, Float64Array, Form, _Late], Tensor]] = {
    Kind.EXACT: _exact,
    Kind.FLOAT32: _float32,
    Kind.FIXED: _fixed,
    Kind.SHIFT: _fixed,
}


def fit_accumulator(
    acc: Tensor, accumulator: Accumulator, where: str, *, channel_axis: int = 1
) -> Tensor:
    """The finished sums as the accumulator holds them; see ``oracle.requantize``.

    Args:
        acc: int64, or exact sums in float32, all of them below 2**24.

    Raises:
        AccumulatorOverflowError: the contract rejects overflow and a sum leaves the range.
    """
    if accumulator.bits >= 64 or (acc.is_floating_point() and accumulator.high >= FLOAT32_EXACT):
        return acc
    return _OVERFLOW[accumulator.overflow](acc.long(), accumulator, where, channel_axis)


def _wrap(acc: Tensor, accumulator: Accumulator, where: str, axis: int) -> Tensor:
    spare = 64 - accumulator.bits
    return (acc << spare) >> spare


def _saturate(acc: Tensor, accumulator: Accumulator, where: str, axis: int) -> Tensor:
    return acc.clamp(accumulator.low, accumulator.high)


def _reject(acc: Tensor, accumulator: Accumulator, where: str, axis: int) -> Tensor:
    outside = (acc < accumulator.low) | (acc > accumulator.high)
    if bool(outside.any()):
        index = tuple(int(i) for i in torch.nonzero(outside)[0])
        raise overflow_error(int(acc[index]), index[axis], accumulator, where)
    return acc


_OVERFLOW: dict[Overflow, Callable[[Tensor, Accumulator, str, int], Tensor]] = {
    Overflow.WRAP: _wrap,
    Overflow.SATURATE: _saturate,
    Overflow.REJECT: _reject,
}
