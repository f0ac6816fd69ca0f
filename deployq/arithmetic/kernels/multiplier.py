"""``arithmetic.multiplier.multiply`` in torch; multipliers are chosen in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.kernels.rounding import shift_right
from deployq.arithmetic.multiplier import Q31, FixedMultiplier, check_product, check_split
from deployq.arithmetic.rounding import Int64Array, check_shift


@dataclass(frozen=True, eq=False)
class _OnDevice:
    """A FixedMultiplier as int64 tensors."""

    mantissa: Tensor
    shift: Tensor


def multiply(
    acc: Tensor, m: FixedMultiplier, mode: Rounding, addend: Int64Array | None = None
) -> Tensor:
    """``acc * m`` rounded to int64; see ``arithmetic.multiplier.multiply``.

    Raises:
        AccumulatorOverflowError: the product could leave 63 bits.
    """
    most = 0 if addend is None else int(np.abs(addend).max(initial=0))
    check_product(_largest(acc), m, mode, most)
    check_shift(m.shift)
    if addend is not None:
        there = _there(m, acc)
        product = acc.long() * there.mantissa + torch.as_tensor(addend, device=acc.device)
        return shift_right(product, there.shift, mode)
    return _BY_MODE.get(mode, _single)(acc.long(), _there(m, acc), mode)


def multiply_split(acc: Tensor, m: FixedMultiplier, post_shift: int, mode: Rounding) -> Tensor:
    """Part of the shift before the product; see ``arithmetic.multiplier.multiply_split``."""
    check_split(_largest(acc), m, post_shift)
    there = _there(m, acc)
    kept = shift_right(acc.long(), there.shift - post_shift, Rounding.FLOOR)
    return shift_right(kept * there.mantissa, torch.full_like(there.shift, post_shift), mode)


def _largest(acc: Tensor) -> int:
    return int(acc.abs().max()) if acc.numel() else 0


def _there(m: FixedMultiplier, acc: Tensor) -> _OnDevice:
    device = acc.device
    return _OnDevice(
        torch.as_tensor(m.mantissa, device=device), torch.as_tensor(m.shift, device=device)
    )


def _single(acc: Tensor, m: _OnDevice, mode: Rounding) -> Tensor:
    return shift_right(acc * m.mantissa, m.shift, mode)


def _plus_one(acc: Tensor, m: _OnDevice, mode: Rounding) -> Tensor:
    return shift_right(acc * (m.mantissa + 1), m.shift, Rounding.HALF_UP)


def _high_multiply(acc: Tensor, m: _OnDevice) -> tuple[Tensor, Tensor]:
    exponent = Q31 - m.shift
    product = (acc << exponent.clamp(min=0)) * m.mantissa
    # gemmlowp's nudge and truncating division are one rounding half up
    high = (product + (1 << (Q31 - 1))) >> Q31
    return high, (-exponent).clamp(min=0)


def _double(acc: Tensor, m: _OnDevice, mode: Rounding) -> Tensor:
    return shift_right(*_high_multiply(acc, m), Rounding.HALF_AWAY)


def _double_half_up(acc: Tensor, m: _OnDevice, mode: Rounding) -> Tensor:
    return shift_right(*_high_multiply(acc, m), Rounding.HALF_UP)


_BY_MODE: dict[Rounding, Callable[[Tensor, _OnDevice, Rounding], Tensor]] = {
    Rounding.DOUBLE: _double,
    Rounding.DOUBLE_HALF_UP: _double_half_up,
    Rounding.NATURAL_PLUS_ONE: _plus_one,
}
