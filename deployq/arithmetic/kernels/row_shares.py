"""The division of ``arithmetic.row_shares`` and the square root before it, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.arithmetic.row_shares import DIVIDEND_BITS, DIVISOR_BITS, share_shift


def row_shares(parts: Tensor, divisors: Tensor, lift: int) -> Tensor:
    """``parts 2**lift / divisors`` in steps of ``2**-20``, int64.

    Args:
        parts: int64, (..., C).
        divisors: int64 in [1, 2**31), (..., 1).
        lift: bits that parts gain, 0 to 30.
    """
    quotients = torch.div(
        torch.full_like(divisors, 1 << DIVIDEND_BITS), divisors, rounding_mode="floor"
    )
    shift = share_shift(lift)
    return (parts * quotients + (1 << (shift - 1))) >> shift


def integer_root(values: Tensor) -> Tensor:
    """``floor(sqrt(values))`` of int64 in [0, 2**62), bit by bit from the highest."""
    root = torch.zeros_like(values)
    for bit in reversed(range(DIVISOR_BITS)):
        tried = root + (1 << bit)
        root = torch.where(tried * tried <= values, tried, root)
    return root
