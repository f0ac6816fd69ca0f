"""Powers of two that learn: the exponent is a real number, its nearest integer is in force.

Jain et al. 2019 (arXiv 1903.08066) train ``log2`` of a threshold: in the log domain a gradient
does not shrink or grow with the scale, so it needs no factor like that of LSQ. They round the
exponent up; here it is rounded to the nearest integer, which moves the range either way.
"""

from __future__ import annotations

from math import log
from typing import Any, cast

import torch
from torch import Tensor

from deployq.graph.bounded import bounded

MANTISSA_BITS, EXPONENT_BIAS = 23, 127
"""Of a float32."""


class _Power(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exponent: Tensor) -> Tensor:
        bits = torch.round(exponent).to(torch.int32) + EXPONENT_BIAS
        power = (bits << MANTISSA_BITS).view(torch.float32)  # exact, which exp2 does not promise
        power = torch.where(exponent.isnan(), exponent, power)  # NaN shows
        ctx.save_for_backward(power)
        return power

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (power,) = ctx.saved_tensors
        slope: Tensor = grad * power * log(2.0)
        return slope


def power_of_two(exponent: Tensor, low: int, high: int) -> Tensor:
    """``2 ** round(clamp(exponent, low, high))``, float32.

    The gradient passes through the rounding: ``dL/d exponent = dL/d power * power * ln 2``; what
    leads out of the range is zero.

    Args:
        exponent: float32, any shape; NaN stays NaN.
        low, high: integers from -126 to 127.
    """
    kept = bounded(exponent, float(low), float(high))
    return cast(Tensor, _Power.apply(kept))  # type: ignore[no-untyped-call] # torch leaves apply untyped
