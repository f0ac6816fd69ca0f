"""From a range of reals to scale and zero point."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize

SMALLEST_SCALE = 2.0**-64
"""Scale of a tensor that is always zero: any positive number would do."""


def qparams_of_range(
    quantizer: FakeQuantize, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Scale and zero point that cover [low, high] and represent 0.0 exactly.

    Args:
        quantizer: gives type, pinned zero point and symmetry.
        low, high: float64, of the scale's shape (extra leading axes are allowed).

    Returns:
        scale (float32, positive) and zero point (float32 integers), of the same shape.
    """
    qtype = quantizer.qtype
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    pinned = 0 if quantizer.symmetric else quantizer.fixed_zero_point
    if pinned is not None:
        above = high / max(qtype.qmax - pinned, 1)
        below = -low / max(pinned - qtype.qmin, 1)
        both = torch.maximum(above, below)
        scale = above if pinned == qtype.qmin else below if pinned == qtype.qmax else both
        scale = scale.clamp(SMALLEST_SCALE, quantizer.scale_limit)
        return scale.float(), torch.full_like(scale, pinned).float()
    scale = (high - low) / (qtype.qmax - qtype.qmin)
    scale = scale.clamp(SMALLEST_SCALE, quantizer.scale_limit)
    zero_point = torch.round(qtype.qmin - low / scale).clamp(qtype.qmin, qtype.qmax)
    return scale.float(), zero_point.float()


def fake_quantize_float64(
    x: Tensor, quantizer: FakeQuantize, scale: Tensor, zero_point: Tensor
) -> Tensor:
    """The grid in float64, for error sums; shapes broadcast."""
    qtype = quantizer.qtype
    codes = torch.round(x / scale) + zero_point
    return (codes.clamp(qtype.qmin, qtype.qmax) - zero_point) * scale
