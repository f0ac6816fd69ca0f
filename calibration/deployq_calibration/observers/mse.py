"""The range with the least mean squared error."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.ranges import Grid
from deployq.graph.scales.search import least_error
from deployq_calibration.observers.distribution import Distribution
from deployq_calibration.observers.histogram import Histogram
from deployq_calibration.observers.minmax import MinMaxObserver

ISOLATED_SHARE = 1e-4
"""The most of all values that may be set aside as isolated."""

ISOLATED_RATIO = 64.0
"""How much further from 0.0 than all others isolated values are, for codes of 8 bits and fewer."""

LEAST_PART = 64
"""An outermost bin keeps at least this part of its width."""


class HistogramObserver(MinMaxObserver):
    """Extremes and a histogram; the base of the observers that choose a range by it.

    Values that are isolated are set aside: at most 1e-4 of all, and so far from 0.0 that to hold
    them would leave all others with two codes on each side (8 bits; no fewer than 64 times as far).
    """

    def __init__(self) -> None:
        super().__init__()
        self.histogram = Histogram()
        self._set_aside = 0

    def observe(self, x: Tensor) -> None:
        super().observe(x)
        if bool(torch.isfinite(self.high - self.low)):
            self.histogram.add(x)

    def qparams(self, quantizer: FakeQuantize) -> Grid:
        if not self.histogram.has_bins():
            return super().qparams(quantizer)
        return self.choose(quantizer, self.distribution(quantizer))

    def choose(self, quantizer: FakeQuantize, distribution: Distribution) -> Grid:
        """Scale and zero point from a distribution with at least one value."""
        raise NotImplementedError  # each observer over a histogram has its own criterion

    def error(self, quantizer: FakeQuantize, grids: Grid) -> Tensor:
        if not self.histogram.has_bins():
            return super().error(quantizer, grids)
        return self.distribution(quantizer).squared_error(quantizer, grids)

    @property
    def set_aside(self) -> int:
        return self._set_aside

    def distribution(self, quantizer: FakeQuantize) -> Distribution:
        """The histogram without isolated values."""
        codes = quantizer.qtype.qmax - quantizer.qtype.qmin + 1
        end = self.histogram.isolated(max(ISOLATED_RATIO, codes / 4), ISOLATED_SHARE)
        self._set_aside = int(self.histogram.counts[:, end:].sum())
        edges, counts = self.histogram.span(end)
        return Distribution(self._up_to_the_extremes(edges, counts), counts)

    def _up_to_the_extremes(self, edges: Tensor, counts: Tensor) -> Tensor:
        """Edges without the part of the outermost used bins that no value reached."""
        used = torch.nonzero(counts).flatten()
        first, last = int(used[0]), int(used[-1])
        edges = edges.clone()
        least = edges.diff() / LEAST_PART
        if bool(self.high > edges[last]):
            edges[last + 1] = self.high.clamp(edges[last] + least[last], edges[last + 1])
        if bool(self.low < edges[first + 1]):
            edges[first] = self.low.clamp(edges[first], edges[first + 1] - least[first])
        return edges

    def ends(self, distribution: Distribution) -> tuple[Tensor, Tensor]:
        """The extremes without isolated values, float64: of bins only where values went."""
        return (
            torch.maximum(self.low.clamp(max=0.0), distribution.low),
            torch.minimum(self.high.clamp(min=0.0), distribution.high),
        )


class MSEObserver(HistogramObserver):
    """The range whose grid has the least mean squared error over the tensor's histogram."""

    def choose(self, quantizer: FakeQuantize, distribution: Distribution) -> Grid:
        low, high = self.ends(distribution)
        return least_error(
            quantizer, low, high, lambda grids: distribution.squared_error(quantizer, grids)
        )
