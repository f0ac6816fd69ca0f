"""``arithmetic.multiplier.multiply`` in torch; multipliers are chosen in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.kernels.long_products import multiply_long
from deployq.arithmetic.kernels.rounding import shift_right
from deployq.arithmetic.multiplier import (
    Q31,
    FixedMultiplier,
    check_split,
    is_long,
    last_step,
    magnitude,
    raised,
)
from deployq.arithmetic.rounding import Int64Array, check_shift


class _OnDevice(NamedTuple):
    """A FixedMultiplier as int64 tensors."""

    mantissa: Tensor
    shift: Tensor


def multiply(
    acc: Tensor, m: FixedMultiplier, mode: Rounding, addend: Int64Array | None = None
) -> Tensor:
    """``acc * m`` rounded to int64; see ``arithmetic.multiplier.multiply``.

    Raises:
        AccumulatorOverflowError: as there.
    """
    most = 0 if addend is None else magnitude(addend)
    long = is_long(_largest(acc), m, mode, most)
    check_shift(m.shift)
    there = _there(FixedMultiplier(raised(m, mode), m.shift), acc)
    added = torch.as_tensor(np.int64(0) if addend is None else addend, device=acc.device)
    if long:
        return multiply_long(acc.long(), *there, last_step(mode), added)
    if mode in _BY_MODE:
        return _BY_MODE[mode](acc.long(), *there)
    product = acc.long() * there.mantissa
    return shift_right(product if addend is None else product + added, there.shift, last_step(mode))


def multiply_split(acc: Tensor, m: FixedMultiplier, post_shift: int, mode: Rounding) -> Tensor:
    """Part of the shift before the product; see ``arithmetic.multiplier.multiply_split``."""
    check_split(_largest(acc), m, post_shift)
    there = _there(m, acc)
    kept = shift_right(acc.long(), there.shift - post_shift, Rounding.FLOOR)
    return shift_right(kept * there.mantissa, torch.full_like(there.shift, post_shift), mode)


def _largest(acc: Tensor) -> int:
    low, high = acc.aminmax() if acc.numel() else (0, 0)
    return max(int(high), -int(low))


def _there(m: FixedMultiplier, acc: Tensor) -> _OnDevice:
    device = acc.device
    return _OnDevice(
        torch.as_tensor(m.mantissa, device=device), torch.as_tensor(m.shift, device=device)
    )


def _high_multiply(acc: Tensor, mantissa: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    exponent = Q31 - shift
    product = (acc << exponent.clamp(min=0)) * mantissa
    # gemmlowp's nudge and truncating division are one rounding half up
    high = (product + (1 << (Q31 - 1))) >> Q31
    return high, (-exponent).clamp(min=0)


def _double(acc: Tensor, mantissa: Tensor, shift: Tensor) -> Tensor:
    return shift_right(*_high_multiply(acc, mantissa, shift), Rounding.HALF_AWAY)


def _double_half_up(acc: Tensor, mantissa: Tensor, shift: Tensor) -> Tensor:
    return shift_right(*_high_multiply(acc, mantissa, shift), Rounding.HALF_UP)


_BY_MODE: dict[Rounding, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    Rounding.DOUBLE: _double,
    Rounding.DOUBLE_HALF_UP: _double_half_up,
}
