"""Squared error of a weight on a grid, exact over its values."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.ranges import Grid, fake_quantize_float64
from deployq.graph.scales.search import least_error
from deployq.graph.weight_rows import weight_rows

CHUNK = 1 << 22
"""Values of an error that are computed at once."""


def least_error_grid(weight: Tensor, quantizer: FakeQuantize) -> Grid:
    """Scale and zero point of the range with the least squared error.

    Args:
        weight: what the quantizer sees, any shape.
        quantizer: gives type, granularity and symmetry.
    """
    rows = weight_rows(weight, quantizer)
    low, high = rows.amin(1).clamp(max=0.0), rows.amax(1).clamp(min=0.0)
    grid = least_error(quantizer, low, high, lambda grids: weight_error(rows, quantizer, grids))
    shape = quantizer.scale.shape
    return grid[0].reshape(shape), grid[1].reshape(shape)


def weight_error(rows: Tensor, quantizer: FakeQuantize, grids: Grid) -> Tensor:
    """Sum of squared errors of each row, (K, rows) for (K, rows) grids."""
    scale, zero_point = grids
    many = max(1, CHUNK // rows.numel())
    found = [
        ((fake_quantize_float64(rows, quantizer, s[..., None], z[..., None]) - rows) ** 2).sum(-1)
        for s, z in zip(torch.split(scale, many), torch.split(zero_point, many), strict=True)
    ]
    return torch.cat(found)
