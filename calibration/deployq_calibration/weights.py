"""Weight scales from the weights alone, exact over their values."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.weight_rows import weight_rows
from deployq_calibration.observers.percentile import PERCENT
from deployq_calibration.observers.registry import parse_name
from deployq_calibration.ranges import Grid, fake_quantize_float64, qparams_of_range
from deployq_calibration.search import least_error

WEIGHT_METHODS = ("minmax", "mse", "percentile")
"""A channel of a weight has too few values for a histogram, and is no stream of batches."""

CHUNK = 1 << 22
"""Values of an error that are computed at once."""


def check_weight_method(method: str) -> None:
    """Raises InputError when no weight range is chosen by ``method``."""
    parse_name(method, WEIGHT_METHODS)


def weight_qparams(weight: Tensor, quantizer: FakeQuantize, method: str) -> Grid:
    """Scale and zero point of a weight.

    Args:
        weight: any shape; per-channel scales lie along the axis of the granularity.
        quantizer: gives type, granularity and symmetry.
        method: ``minmax``, ``mse`` or ``percentile``, with a parameter ``percentile:99.9``.

    Raises:
        InputError: another method.
    """
    kind, parameter = parse_name(method, WEIGHT_METHODS)
    rows = weight_rows(weight, quantizer)
    low, high = rows.amin(1).clamp(max=0.0), rows.amax(1).clamp(min=0.0)
    if kind == "mse":
        grid = least_error(quantizer, low, high, lambda grids: weight_error(rows, quantizer, grids))
    elif kind == "percentile":
        grid = qparams_of_range(quantizer, *_quantiles(rows, parameter or PERCENT))
    else:
        grid = qparams_of_range(quantizer, low, high)
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


def _quantiles(rows: Tensor, percent: float) -> tuple[Tensor, Tensor]:
    """The ends that clip at most half of the rest on each side, exact order statistics."""
    clipped = int(rows.shape[1] * (100.0 - percent) / 200.0)
    ordered = rows.sort(1).values
    return ordered[:, clipped], ordered[:, -1 - clipped]
