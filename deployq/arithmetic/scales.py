"""Arithmetic on scales alone: a few NumPy numbers a layer, which oracle and kernels share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from deployq.arithmetic.codes import code_offset, scale_and_zero
from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.float32 import fma
from deployq.arithmetic.multiplier import FixedMultiplier, choose_fixed, divided
from deployq.arithmetic.precisions import real_multiplier
from deployq.arithmetic.requant_words import Addition, Averaging, ScalePrecision
from deployq.arithmetic.rounding import Float64Array, Int64Array, round_real
from deployq.errors import QuantizationError
from deployq.qparams import FloatArray, QParams


def along_axis(w_scale: FloatArray | np.float32, rank: int, axis: int) -> FloatArray:
    """(C,) as float32, reshaped to broadcast along ``axis`` of a tensor of ``rank``."""
    scale = np.asarray(w_scale, np.float32)
    return scale if scale.ndim == 0 else scale.reshape(shape_along(rank, axis))


def shape_along(rank: int, axis: int) -> list[int]:
    """Of what broadcasts along one axis of a tensor of ``rank``."""
    shape = [1] * rank
    shape[axis] = -1
    return shape


def layer_multiplier(
    rank: int,
    channel_axis: int,
    x_scale: FloatArray | np.float32,
    w_scale: FloatArray | np.float32,
    out: QParams,
    form: Form,
) -> Float64Array:
    """:func:`real_multiplier` of a layer, broadcastable to its sums.

    Args:
        rank, channel_axis: of the sums.
    """
    weights = along_axis(w_scale, rank, channel_axis)
    y_scale, _ = scale_and_zero(out, "output")
    return real_multiplier(np.float32(x_scale), weights, y_scale, form.precision)


def float64_scales(*qparams: QParams) -> list[np.float64]:
    """The scales of per-tensor parameters in float64."""
    return [np.float64(scale_and_zero(q, "operand")[0]) for q in qparams]


def add_constants(
    qa: QParams, qb: QParams, out: QParams, form: Form
) -> tuple[np.float32, np.float32, np.float32]:
    """``s_a / s_y``, ``s_b / s_y`` and the constant term of ONNX Runtime's QLinearAdd.

    The inner sum is fused (one rounding for ``r_a z_a`` and the addition), as its compiler made it;
    that decides near ties.
    """
    sa, sb, sy = (scale_and_zero(q, "Add")[0] for q in (qa, qb, out))
    za, zb, zy = (kernel_zero(q, form) for q in (qa, qb, out))
    ra, rb = sa / sy, sb / sy
    return ra, rb, np.float32(zy - fma(ra, za, rb * zb))


def mul_multiplier(qa: QParams, qb: QParams, out: QParams, form: Form) -> np.float32 | np.float64:
    """``s_a * s_b / s_y`` of Mul in the form's precision; float32 where the kernel is."""
    sa, sb, sy = (scale_and_zero(q, "Mul")[0] for q in (qa, qb, out))
    real = np.float64(real_multiplier(sa, sb, sy, form.precision))
    return np.float32(real) if form.kind is Kind.FLOAT32 else real


def rescale_real(sx: np.float32, sy: np.float32, form: Form) -> np.float64:
    """``s_x / s_y`` in the form's precision."""
    if form.precision is ScalePrecision.F32:
        return np.float64(sx / sy)
    return np.float64(sx) / np.float64(sy)


def operand_form(form: Form) -> Form:
    """How Add rescales its operands before their sum, in one form with the sum or in its own."""
    once = form.addition is Addition.RESCALED_ONCE
    return replace(form, rounding=Rounding.HALF_UP) if once else form


def weighted_sum(qa: QParams, qb: QParams, out: QParams, form: Form) -> tuple[int, int, int]:
    """Integer weights of the operands of Add, and their one right shift.

    The larger of ``s / s_y`` fills the mantissa, unless that shifts further than the form does.
    Both are rounded half to even, as ``lrint`` does: seen on HTP, of mantissas that are ties.
    """
    one, sy = np.float32(1), scale_and_zero(out, "Add")[0]
    scales = [scale_and_zero(q, "Add")[0] for q in (qa, qb)]
    real = np.array([float(real_multiplier(s, one, sy, form.precision)) for s in scales])
    shift = int(choose_fixed(real, replace(form, shared_shift=True)).shift[0])
    weights = round_real(np.ldexp(real, shift), Rounding.HALF_EVEN)
    return int(weights[0]), int(weights[1]), shift


def mean_multiplier(qx: QParams, out: QParams, count: Int64Array, form: Form) -> FixedMultiplier:
    """Of the sum of ``count`` codes, as ``form.averaging`` says."""
    if form.averaging is Averaging.DIVIDED_MANTISSA:
        return divided(choose_fixed(mean_real(qx, out, np.ones_like(count), form), form), count)
    return choose_fixed(mean_real(qx, out, count, form), form)


def mean_real(qx: QParams, out: QParams, count: Int64Array, form: Form) -> Float64Array:
    """``s_x / (count * s_y)`` in the form's precision."""
    (sx, _), (sy, _) = scale_and_zero(qx, "input"), scale_and_zero(out, "output")
    if form.precision is ScalePrecision.F64:
        return np.asarray(np.float64(sx) / (count * np.float64(sy)))
    cells = count.astype(np.float32)
    if form.precision is ScalePrecision.F32_INVERSE:
        return np.asarray((sx / sy) * (np.float32(1) / cells), np.float64)
    if form.precision is ScalePrecision.F32_RECIPROCAL:
        return np.asarray(sx * (np.float32(1) / sy) / cells, np.float64)
    return np.asarray(sx / (sy * cells), np.float64)


def mean_constant(
    qx: QParams, out: QParams, count: Int64Array, real: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """What a float32 mean of raw codes adds for both zero points (XNNPACK)."""
    zero_x, zero_y = scale_and_zero(qx, "input")[1], scale_and_zero(out, "output")[1]
    return np.asarray(np.float32(zero_y) - (zero_x * count).astype(np.float32) * real, np.float32)


def check_kept(qx: QParams, out: QParams) -> None:
    """Raises QuantizationError unless a mean keeps scale and zero point."""
    if scale_and_zero(qx, "input") != scale_and_zero(out, "output"):
        raise QuantizationError(
            "average pool",
            "this mean has the scale and zero point of its input",
            found=f"{qx.scale} and {qx.zero_point}, output {out.scale} and {out.zero_point}",
            allowed="equal ones",
            next_step="give input and output of the pool one scale and zero point",
        )


def moved_zero(qx: QParams, out: QParams, form: Form) -> int:
    """The input's zero point in the output's scale, half away from zero (LiteRT's MEAN)."""
    if form.precision is ScalePrecision.F64:
        sx, sy = float64_scales(qx, out)
        zero = scale_and_zero(qx, "input")[1]
        return int(round_real(zero * (sx / sy), Rounding.HALF_AWAY))
    (scale_x, zero), (scale_y, _) = scale_and_zero(qx, "input"), scale_and_zero(out, "output")
    moved = np.float32(zero) * scale_x / scale_y
    return int(moved + np.copysign(np.float32(0.5), moved))


def runs_swapped(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """True when ``a`` has one element for each innermost run of ``b``.

    ONNX Runtime then adds with the operands exchanged, and its formula is not symmetric.
    """
    rank = max(len(a), len(b))
    full_a, full_b = ((1,) * (rank - len(shape)) + shape for shape in (a, b))
    for size_a, size_b in zip(reversed(full_a), reversed(full_b), strict=True):
        if size_a != size_b:
            return size_a == 1
        if size_a > 1:
            return False
    return False


def kernel_zero(qparams: QParams, form: Form) -> np.float32:
    """The zero point in the kernel's codes, float32."""
    return np.float32(scale_and_zero(qparams, "operand")[1] + code_offset(qparams, form))


def aligning(form: Form) -> Form:
    """The form that finds by how many bits an operand moves to the finer scale of the two.

    The ratio finer / own is 2**-k, whose right shift is k: the operand moves k to the left.
    """
    return Form(form.kind, form.rounding, shift_min=0, shift_max=form.left_shift)
