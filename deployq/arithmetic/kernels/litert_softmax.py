"""``oracle.litert_softmax`` in torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deployq.arithmetic.codes import Bounds
from deployq.arithmetic.kernels.codes import in_order_sum, to_codes
from deployq.arithmetic.litert_softmax import (
    MOST_SUM,
    ONE,
    SHARE_SHIFT,
    SLOPE,
    START,
    STEPS,
    SUM_BITS,
    check_grids,
    fixed_exponentials,
    float_exponentials,
    sum_overflow,
)
from deployq.arithmetic.multiplier import Q31
from deployq.arithmetic.requant_words import Softmax
from deployq.qparams import QParams


def litert_softmax(
    below: Tensor, qx: QParams, out: QParams, word: Softmax, bounds: Bounds | None
) -> Tensor:
    """Codes of shares along the last axis; see ``oracle.litert_softmax``."""
    check_grids(qx, out)
    return to_codes(_SHARES[word](below, qx), out, bounds)


def _float(below: Tensor, qx: QParams) -> Tensor:
    parts = torch.from_numpy(float_exponentials(qx)).to(below.device)[below.long()]
    steps = parts * (1 / (in_order_sum(parts) * 2.0**-8))
    return (steps.double() + 0.5).floor().long()  # never negative


def _fixed(below: Tensor, qx: QParams) -> Tensor:
    parts = torch.from_numpy(fixed_exponentials(qx)).to(below.device)[below.long()]
    total = _shifted(parts, Q31 - SUM_BITS).sum(-1, keepdim=True)
    most = int(total.max()) if total.numel() else 0
    if most >= MOST_SUM:
        raise sum_overflow(most)
    length = torch.frexp(total.double()).exponent.long()
    share = _high(parts, _reciprocal(total << (Q31 - length)))
    return _shifted(share, length + SHARE_SHIFT)


def _reciprocal(half: Tensor) -> Tensor:
    value = START + _high(half, SLOPE)
    for _ in range(STEPS):
        value = value + (_high(value, ONE - _high(half, value)) << 2)
    return (value << 1).clamp(max=(1 << Q31) - 1)


def _high(a: Tensor, b: Tensor | int) -> Tensor:
    return _shifted(a * b, Q31)


def _shifted(value: Tensor, shift: Tensor | int) -> Tensor:
    """Half up."""
    return (value + (1 << (shift - 1))) >> shift


_SHARES: dict[Softmax, Callable[[Tensor, QParams], Tensor]] = {
    Softmax.FLOAT_TABLE: _float,
    Softmax.GEMMLOWP: _fixed,
}
