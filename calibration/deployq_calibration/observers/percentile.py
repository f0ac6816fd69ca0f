"""The range that holds a stated share of the values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.ranges import Grid, qparams_of_range
from deployq_calibration.observers.distribution import Distribution
from deployq_calibration.observers.mse import HistogramObserver

PERCENT = 99.99


class PercentileObserver(HistogramObserver):
    """The range that holds ``percent`` of the values, to the width of a bin (1/512).

    Half of the rest is clipped on each side; all of it on one side where the values have one sign,
    as after a ReLU. Never clips more than the stated share.

    Args:
        percent: in (50, 100].
    """

    def __init__(self, percent: float = PERCENT) -> None:
        super().__init__()
        self.percent = percent

    def choose(self, quantizer: FakeQuantize, distribution: Distribution) -> Grid:
        clipped = math.floor(self.histogram.total * (100.0 - self.percent) / 100.0)
        two_sided = bool((self.low < 0) & (self.high > 0))
        clipped = clipped // 2 if two_sided else clipped
        low, high = self._ends_without(clipped)
        if bool(low == high):  # fewer values than the share are not zero: they are all there is
            low, high = self.ends(distribution)
        return qparams_of_range(quantizer, low, high)

    def _ends_without(self, clipped: int) -> tuple[Tensor, Tensor]:
        """The ends once ``clipped`` values of each sign, the outermost, are left out."""
        edges, counts = self.histogram.span()
        below, above = counts.cumsum(0), counts.flip(0).cumsum(0).flip(0)
        negative = edges[1:] <= 0
        low = edges[:-1][negative & (below > clipped)]
        high = edges[1:][~negative & (above > clipped)]
        zero = torch.zeros(1, dtype=torch.float64)
        return (
            torch.maximum(self.low.clamp(max=0.0), torch.cat([low, zero]).amin()),
            torch.minimum(self.high.clamp(min=0.0), torch.cat([high, zero]).amax()),
        )
