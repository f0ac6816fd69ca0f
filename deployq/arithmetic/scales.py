"""Arithmetic on scales alone: a few NumPy numbers a layer, which oracle and kernels share."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.codes import code_offset, scale_and_zero
from deployq.arithmetic.contract import Form
from deployq.arithmetic.float32 import fma
from deployq.arithmetic.rounding import Float64Array
from deployq.qparams import FloatArray, QParams


def along_axis(w_scale: FloatArray | np.float32, rank: int, axis: int) -> FloatArray:
    """(C,) as float32, reshaped to broadcast along ``axis`` of a tensor of ``rank``."""
    scale = np.asarray(w_scale, np.float32)
    if scale.ndim == 0:
        return scale
    shape = [1] * rank
    shape[axis] = scale.size
    return scale.reshape(shape)


def real_multiplier(
    x_scale: np.float32, w_scale: FloatArray | np.float32, y_scale: np.float32
) -> Float64Array:
    """``s_x * s_w / s_y`` in float64: the product of two float32 is exact."""
    product = np.float64(x_scale) * np.asarray(w_scale, np.float64)
    return np.asarray(product / np.float64(y_scale))


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
