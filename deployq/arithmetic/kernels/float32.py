"""``arithmetic.float32.fma`` in torch."""

from __future__ import annotations

import torch
from torch import Tensor


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """``a * b + c`` of float32 tensors with one rounding; see ``arithmetic.float32.fma``."""
    product = a.double() * b.double()
    addend = c.double()
    total = product + addend
    shadow = total - product
    error = (product - (total - shadow)) + (addend - shadow)  # TwoSum
    bits = total.view(torch.int64)
    towards_error = torch.where((error > 0) == (total > 0), 1, -1)
    inexact_and_even = (error != 0) & (bits & 1 == 0)
    odd = torch.where(inexact_and_even, bits + towards_error, bits)
    return odd.view(torch.float64).float()
