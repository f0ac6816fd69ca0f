"""From accumulators to codes; ``oracle.requantize`` in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.addends import addend_ratio
from deployq.arithmetic.codes import Bounds
from deployq.arithmetic.contract import Accumulator, Form, Kind, Overflow
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.folding import cut_offsets, folded_zero
from deployq.arithmetic.kernels.codes import (
    centred,
    coder,
    nearest,
    saturate,
    to_codes,
    to_tensor,
    torch_dtype,
)
from deployq.arithmetic.kernels.multiplier import multiply, multiply_split
from deployq.arithmetic.kernels.pairs import Operand
from deployq.arithmetic.kernels.precision import FLOAT32_EXACT
from deployq.arithmetic.late_bias import late_steps, late_units
from deployq.arithmetic.layer_scales import LayerScales
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.oracle.requantize import overflow_error
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.arithmetic.scales import shape_along
from deployq.qparams import FloatArray, IntArray, QParams

Requantize: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From sums, which may be overwritten, to their codes in a tensor of the same shape."""
Rescale: TypeAlias = Callable[[Tensor], Tensor]


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
    removed: IntArray | None = None,
    late: Float64Array | None = None,
    addend: Operand | None = None,
) -> Tensor:
    """``acc * s_x * s_w / s_y`` as codes; see ``oracle.requantize.requantize``.

    Args:
        acc: int64, or exact sums in float32, which are overwritten.
        bias: for a zero point in the accumulator, which takes no addend.
        addend: codes of the shape of ``acc``, and their parameters.
    """
    if addend is not None:
        layer = LayerScales(x_scale, w_scale, out, acc.ndim, channel_axis)
        return _joined(acc, layer, form, addend, bounds, late)
    made = requantizer(
        acc.ndim, x_scale, w_scale, out, form, acc.device,
        channel_axis=channel_axis, bounds=bounds, bias=bias, removed=removed, late=late,
    )  # fmt: skip
    return made(acc, torch.empty_like(acc, dtype=torch_dtype(out.qtype)))


def real_sums(
    acc: Tensor,
    x_scale: FloatArray | np.float32,
    w_scale: FloatArray | np.float32,
    *,
    channel_axis: int = 1,
    late: Float64Array | None = None,
) -> Tensor:
    """``acc * s_x * s_w`` as float32; see ``oracle.requantize.real_sums``."""
    along = shape_along(acc.ndim, channel_axis)
    factor = np.float64(x_scale) * np.asarray(w_scale, np.float64).reshape(along)
    reals = acc.double().mul_(torch.as_tensor(factor, device=acc.device))
    if late is not None:
        reals.add_(torch.as_tensor(late.reshape(along), device=acc.device))
    return reals.float()


def _joined(
    acc: Tensor,
    layer: LayerScales,
    form: Form,
    addend: Operand,
    bounds: Bounds | None,
    late: Float64Array | None,
) -> Tensor:
    ratio = addend_ratio(addend[1], layer.out, form)
    value = _rescale(layer, form, late, acc.device)(acc)
    reals = centred(*addend).to(value.dtype)
    return to_codes(nearest(value + reals * to_tensor(ratio, reals)), layer.out, bounds)


def requantizer(
    rank: int,
    x_scale: FloatArray | np.float32,
    w_scale: FloatArray | np.float32,
    out: QParams,
    form: Form,
    device: torch.device,
    *,
    channel_axis: int = 1,
    bounds: Bounds | None = None,
    bias: IntArray | None = None,
    removed: IntArray | None = None,
    late: Float64Array | None = None,
) -> Requantize:
    """:func:`requantize` for sums that come in pieces: the multipliers are computed once.

    Args:
        rank: of the sums.
        device: where they are.
    """
    layer = LayerScales(x_scale, w_scale, out, rank, channel_axis)
    rescale = _rescale(layer, form, late, device)
    if not form.folds_zero:
        codes = coder(out, bounds)
        return lambda acc, into: codes(rescale(acc), into)
    zero = folded_zero(layer, form, bias)
    if form.sum_cut:
        offsets = cut_offsets(bias, zero, removed, form.sum_cut, layer)
        return _cut(rescale, offsets, out, form, bounds, device)
    folded = torch.as_tensor(zero, device=device)
    return lambda acc, into: into.copy_(saturate(rescale(acc.long() + folded), out, bounds))


def _cut(
    rescale: Rescale,
    offsets: tuple[Int64Array, Int64Array],
    out: QParams,
    form: Form,
    bounds: Bounds | None,
    device: torch.device,
) -> Requantize:
    """Of sums whose lowest bits are dropped; see ``folding.cut_offsets``."""
    before, after = (torch.as_tensor(offset, device=device) for offset in offsets)

    def requantized(acc: Tensor, into: Tensor) -> Tensor:
        kept = ((acc.long() + before) >> form.sum_cut) + after
        return into.copy_(saturate(rescale(kept), out, bounds))

    return requantized


def _rescale(
    layer: LayerScales, form: Form, late: Float64Array | None, device: torch.device
) -> Rescale:
    """From sums to units of the output's scale, with reals that are added after it."""
    units = None
    if late is not None:
        units = late_units(late, layer.rank, layer.axis, layer.out, form)
    return pick("requantize", _FORMS, form)(layer, form, units, device)


_Late = Float64Array | None
"""Of ``late_units``."""


def _float32(layer: LayerScales, form: Form, late: _Late, device: torch.device) -> Rescale:
    factor = torch.as_tensor(layer.real(form).astype(np.float32), device=device)
    return lambda acc: acc.float().mul_(factor)


def _exact(layer: LayerScales, form: Form, late: _Late, device: torch.device) -> Rescale:
    factor = torch.as_tensor(layer.real(form), device=device)
    if late is None:
        return lambda acc: acc.double().mul_(factor)
    added = torch.as_tensor(late, device=device)
    return lambda acc: acc.double().mul_(factor).add_(added)


def _fixed(layer: LayerScales, form: Form, late: _Late, device: torch.device) -> Rescale:
    chosen = choose_fixed(np.ldexp(layer.real(form), form.sum_cut), form)
    post_shift = form.post_shift
    if post_shift is not None:
        return lambda acc: multiply_split(acc, chosen, post_shift, form.rounding)
    steps = None if late is None else late_steps(late, chosen)
    return lambda acc: multiply(acc, chosen, form.rounding, steps)


def _thresholds(layer: LayerScales, form: Form, late: _Late, device: torch.device) -> Rescale:
    levels = torch.tensor(layer.thresholds(form), device=device)

    def counted(acc: Tensor) -> Tensor:
        channels = acc.long().movedim(layer.axis, 0)
        rows = channels.reshape(len(levels), -1).contiguous()  # of each channel, or of all
        found = torch.searchsorted(levels, rows, right=True).add_(layer.lowest)
        return found.reshape(channels.shape).movedim(0, layer.axis)

    return counted


_FORMS: dict[Kind, Callable[[LayerScales, Form, _Late, torch.device], Rescale]] = {
    Kind.EXACT: _exact,
    Kind.FLOAT32: _float32,
    Kind.FIXED: _fixed,
    Kind.SHIFT: _fixed,
    Kind.THRESHOLDS: _thresholds,
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
