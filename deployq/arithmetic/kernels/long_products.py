"""``arithmetic.long_products`` in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.kernels.rounding import round_up
from deployq.arithmetic.long_products import (
    HALF_BITS,
    HALF_MASK,
    LOW_BITS,
    LOW_MASK,
    SATURATING_BITS,
)


def multiply_long(
    acc: Tensor, mantissa: Tensor, shift: Tensor, mode: Rounding, addend: Tensor
) -> Tensor:
    """``(acc * mantissa + addend) / 2**shift``; see ``arithmetic.long_products``."""
    high, low = _product(acc, mantissa, addend)
    long, short = (shift - LOW_BITS).clamp(min=0), shift.clamp(max=LOW_BITS)
    one = torch.ones_like(shift)
    half = one << (SATURATING_BITS - LOW_BITS - 1 + shift).clamp(max=62)
    kept = torch.minimum(torch.maximum(high, -half - half), half - 1 + half)
    floor = ((kept >> long) << (LOW_BITS - short)) + (low >> short)
    rest = ((kept & ((one << long) - 1)) << LOW_BITS) + (low & ((one << short) - 1))
    return floor + round_up(rest, shift, floor, mode)


def _product(acc: Tensor, mantissa: Tensor, addend: Tensor) -> tuple[Tensor, Tensor]:
    lower = acc & LOW_MASK
    last = (lower & HALF_MASK) * mantissa
    middle = (lower >> HALF_BITS) * mantissa + (last >> HALF_BITS)
    high = (acc >> LOW_BITS) * mantissa + (middle >> HALF_BITS)
    low = ((middle & HALF_MASK) << HALF_BITS) + (last & HALF_MASK) + (addend & LOW_MASK)
    return high + (addend >> LOW_BITS) + (low >> LOW_BITS), low & LOW_MASK
