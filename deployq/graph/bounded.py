"""Clamp a parameter to its legal range without stranding it outside."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        # descent moves x against the gradient: what leads back inside passes
        outward = ((x <= ctx.low) & (grad > 0)) | ((x >= ctx.high) & (grad < 0))
        return torch.where(outward, 0.0, grad), None, None


def bounded(x: Tensor, low: float, high: float = float("inf")) -> Tensor:
    """``clamp(x, low, high)`` whose gradient still leads back inside.

    The gradient of a plain clamp is zero outside, so a parameter that one step of an optimizer
    carries over the edge would stay there; here only the outward part is zero.

    Args:
        x: any float tensor.
        low, high: bounds, low <= high.
    """
    return cast(Tensor, _Bounded.apply(x, low, high))  # type: ignore[no-untyped-call] # torch leaves apply untyped
