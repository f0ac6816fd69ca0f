"""From a range of reals to scale and zero point, and back."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize

SMALLEST_SCALE = 2.0**-64
"""Scale of a tensor that is always zero: any positive number would do."""

Grid: TypeAlias = tuple[Tensor, Tensor]
"""Scale (float32, positive) and zero point (int64), of one shape."""


def pinned_zero_point(quantizer: FakeQuantize) -> int | None:
    """The code that stands for 0.0 whatever the data; None: it is free."""
    return 0 if quantizer.symmetric else quantizer.fixed_zero_point


def has_free_zero_point(quantizer: FakeQuantize) -> bool:
    """True where data choose the zero point."""
    return pinned_zero_point(quantizer) is None


def qparams_of_range(quantizer: FakeQuantize, low: Tensor, high: Tensor) -> Grid:
    """Scale and zero point that cover [low, high] and represent 0.0 exactly.

    Args:
        quantizer: gives type, pinned zero point and symmetry.
        low, high: float64, of the scale's shape (extra leading axes are allowed).

    Returns:
        scale (float32, positive) and zero point (int64), of the same shape. A pinned scale is not
        looked at.
    """
    qtype = quantizer.qtype
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    pinned = pinned_zero_point(quantizer)
    if pinned is not None:
        above = high / max(qtype.qmax - pinned, 1)
        below = -low / max(pinned - qtype.qmin, 1)
        scale = torch.maximum(above, below)
        if pinned in (qtype.qmin, qtype.qmax):  # one side has no codes
            scale = above if pinned == qtype.qmin else below
    else:
        scale = (high - low) / (qtype.qmax - qtype.qmin)
    scale = scale.clamp(SMALLEST_SCALE, quantizer.scale_limit).float()
    if pinned is not None:
        return scale, torch.full_like(scale, pinned, dtype=torch.int64)
    zero_point = torch.round(qtype.qmin - low / scale.double())
    return scale, zero_point.clamp(qtype.qmin, qtype.qmax).to(torch.int64)


def real_ends(quantizer: FakeQuantize, grids: Grid) -> tuple[Tensor, Tensor]:
    """The lowest and highest real value of grids, float64."""
    scale, zero_point = grids[0].double(), grids[1]
    qtype = quantizer.qtype
    return (qtype.qmin - zero_point) * scale, (qtype.qmax - zero_point) * scale


def fake_quantize_float64(
    x: Tensor, quantizer: FakeQuantize, scale: Tensor, zero_point: Tensor
) -> Tensor:
    """The grid in float64, for error sums; shapes broadcast."""
    qtype, scale = quantizer.qtype, scale.double()
    codes = torch.round(x / scale) + zero_point
    return (codes.clamp(qtype.qmin, qtype.qmax) - zero_point) * scale
