"""Weight scales from the weights alone, exact over their values."""

from __future__ import annotations

from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.ranges import Grid, qparams_of_range
from deployq.graph.scales.weight_errors import least_error_grid
from deployq.graph.weight_rows import weight_rows
from deployq_calibration.observers.percentile import PERCENT
from deployq_calibration.observers.registry import parse_name

WEIGHT_METHODS = ("minmax", "mse", "percentile")
"""A channel of a weight has too few values for a histogram, and is no stream of batches."""


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
    if kind == "mse":
        return least_error_grid(weight, quantizer)
    rows = weight_rows(weight, quantizer)
    ends = _quantiles(rows, parameter or PERCENT) if kind == "percentile" else rows.aminmax(dim=1)
    grid = qparams_of_range(quantizer, *ends)
    shape = quantizer.scale.shape
    return grid[0].reshape(shape), grid[1].reshape(shape)


def _quantiles(rows: Tensor, percent: float) -> tuple[Tensor, Tensor]:
    """The ends that clip at most half of the rest on each side, exact order statistics."""
    clipped = int(rows.shape[1] * (100.0 - percent) / 200.0)
    ordered = rows.sort(1).values
    return ordered[:, clipped], ordered[:, -1 - clipped]
