"""Change of parameters, alone and on the way into a Concat; ``oracle.concat`` in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from deployq.arithmetic.codes import Bounds, scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.kernels.codes import centred, nearest, saturate, scale_tensor, to_codes
from deployq.arithmetic.kernels.multiplier import multiply
from deployq.arithmetic.kernels.rounding import shift_right
from deployq.arithmetic.lanes import two_roundings
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.requant_words import Rescaling
from deployq.arithmetic.scales import rescale_real
from deployq.qparams import QParams


def concat(parts: Sequence[tuple[Tensor, QParams]], out: QParams, axis: int, form: Form) -> Tensor:
    """Parts moved to the parameters of ``out`` and joined; see ``oracle.concat.concat``."""
    moved = [_rescale("Concat", codes, qparams, out, form, None) for codes, qparams in parts]
    return torch.cat(moved, dim=axis)


def rescale(
    x: Tensor, qx: QParams, out: QParams, form: Form, *, bounds: Bounds | None = None
) -> Tensor:
    """Codes of the same reals under other parameters; see ``oracle.concat.rescale``."""
    return _rescale("rescale", x, qx, out, form, bounds)


def _rescale(
    operator: str, x: Tensor, qx: QParams, out: QParams, form: Form, bounds: Bounds | None
) -> Tensor:
    if qx == out:  # whatever the form
        return saturate(x, out, bounds)
    move = pick(operator, _FORMS, form)
    return to_codes(move(centred(x, qx), qx, out, form), out, bounds)


def _float32(value: Tensor, qx: QParams, out: QParams, form: Form) -> Tensor:
    sx, sy = scale_tensor(qx, value, "input"), scale_tensor(out, value, "output")
    return nearest(value.float() * sx / sy)


def _exact(value: Tensor, qx: QParams, out: QParams, form: Form) -> Tensor:
    sx, sy = (scale_tensor(q, value, "operand").double() for q in (qx, out))
    return nearest(value.double() * sx / sy)


def _fixed(value: Tensor, qx: QParams, out: QParams, form: Form) -> Tensor:
    if form.rescaling is not Rescaling.ONCE:
        by = two_roundings(qx, out, form)
        first, second = (torch.tensor(n, device=value.device) for n in (by.first, by.second))
        finer = shift_right(value * by.mantissa, first, form.rounding)
        return shift_right(finer, second, form.rounding)
    (sx, _), (sy, _) = scale_and_zero(qx, "input"), scale_and_zero(out, "output")
    return multiply(value, choose_fixed(rescale_real(sx, sy, form), form), form.rounding)


_FORMS: dict[Kind, Callable[[Tensor, QParams, QParams, Form], Tensor]] = {
    Kind.EXACT: _exact,
    Kind.FLOAT32: _float32,
    Kind.FIXED: _fixed,
    Kind.SHIFT: _fixed,
}
