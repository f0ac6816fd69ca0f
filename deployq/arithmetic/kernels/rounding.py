"""``arithmetic.rounding.shift_right`` in torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.rounding import single_step

# (remainder against half, floor) -> move up, as in arithmetic.rounding
_MOVES_UP: dict[Rounding, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    Rounding.HALF_EVEN: lambda above, tie, floor: above | (tie & (floor % 2 != 0)),
    Rounding.HALF_UP: lambda above, tie, floor: above | tie,
    Rounding.HALF_AWAY: lambda above, tie, floor: above | (tie & (floor >= 0)),
    Rounding.HALF_DOWN: lambda above, tie, floor: above,
    Rounding.HALF_ZERO: lambda above, tie, floor: above | (tie & (floor < 0)),
}


def shift_right(value: Tensor, shift: Tensor, mode: Rounding) -> Tensor:
    """``value / 2**shift`` rounded; int64 tensors, shifts in [-62, 62], negative to the left."""
    single_step(mode)
    right = shift.clamp(min=0)
    shifted_left = value << (-shift).clamp(min=0) if bool((shift < 0).any()) else value
    floor = shifted_left >> right
    if mode is Rounding.FLOOR:
        return floor
    if mode is Rounding.HALF_UP:  # the last bit that goes says which half it is
        return floor + ((shifted_left >> (right - 1).clamp(min=0)) & (right > 0))
    return floor + round_up(shifted_left - (floor << right), right, floor, mode)


def round_up(rest: Tensor, right: Tensor, floor: Tensor, mode: Rounding) -> Tensor:
    """True where ``floor + rest / 2**right`` rounds to ``floor + 1``."""
    if mode is Rounding.FLOOR:
        return torch.zeros_like(floor, dtype=torch.bool)
    if mode is Rounding.TRUNC:
        return (rest != 0) & (floor < 0)
    whole = torch.ones_like(right) << right
    return _MOVES_UP[mode](2 * rest > whole, 2 * rest == whole, floor)
