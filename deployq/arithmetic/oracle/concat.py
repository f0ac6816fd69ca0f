"""Change of parameters, alone and on the way into a Concat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from deployq.arithmetic.codes import Bounds, scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.lanes import two_roundings
from deployq.arithmetic.multiplier import choose_fixed, multiply
from deployq.arithmetic.oracle.codes import centred, nearest, saturate, to_codes
from deployq.arithmetic.requant_words import Rescaling
from deployq.arithmetic.rounding import Int64Array, shift_right
from deployq.arithmetic.scales import rescale_real
from deployq.qparams import IntArray, QParams


def concat(
    parts: Sequence[tuple[IntArray, QParams]], out: QParams, axis: int, form: Form
) -> IntArray:
    """Parts moved to the parameters of ``out`` and joined along ``axis``.

    FLOAT32 is ONNX Runtime's QLinearConcat. Errors as in ``rescale``.
    """
    moved = [_rescale("Concat", codes, qparams, out, form, None) for codes, qparams in parts]
    return np.concatenate(moved, axis=axis)


def rescale(
    x: IntArray, qx: QParams, out: QParams, form: Form, *, bounds: Bounds | None = None
) -> IntArray:
    """Codes of the same reals under other parameters; equal parameters leave codes as they are.

    Args:
        x: codes, any shape.
        qx, out: parameters, per tensor.
        bounds: lowest and highest code of a fused Relu or Clip.

    Returns:
        Codes in ``out.qtype.dtype``.

    Raises:
        UnsupportedError: the kind of the form has no rescale.
        QuantizationError: the form cannot express ``s_x / s_y``.
    """
    return _rescale("rescale", x, qx, out, form, bounds)


def _rescale(
    operator: str, x: IntArray, qx: QParams, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    if qx == out:  # whatever the form
        return saturate(x.astype(np.int64), out, bounds)
    move = pick(operator, _FORMS, form)
    return to_codes(move(centred(x, qx), qx, out, form), out, bounds)


def _float32(value: Int64Array, qx: QParams, out: QParams, form: Form) -> Int64Array:
    sx, sy = _scales(qx, out)
    return nearest(value.astype(np.float32) * sx / sy)


def _exact(value: Int64Array, qx: QParams, out: QParams, form: Form) -> Int64Array:
    sx, sy = _scales(qx, out)
    return nearest(value.astype(np.float64) * np.float64(sx) / np.float64(sy))


def _fixed(value: Int64Array, qx: QParams, out: QParams, form: Form) -> Int64Array:
    if form.rescaling is not Rescaling.ONCE:
        by = two_roundings(qx, out, form)
        finer = shift_right(value * by.mantissa, by.first, form.rounding)
        return shift_right(finer, by.second, form.rounding)
    real = rescale_real(*_scales(qx, out), form)
    return multiply(value, choose_fixed(real, form), form.rounding)


def _scales(qx: QParams, out: QParams) -> tuple[np.float32, np.float32]:
    return scale_and_zero(qx, "input")[0], scale_and_zero(out, "output")[0]


_FORMS: dict[Kind, Callable[[Int64Array, QParams, QParams, Form], Int64Array]] = {
    Kind.EXACT: _exact,
    Kind.FLOAT32: _float32,
    Kind.FIXED: _fixed,
    Kind.SHIFT: _fixed,
}
