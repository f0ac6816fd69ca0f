"""The observed extremes."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.ranges import Grid, qparams_of_range, real_ends


class MinMaxObserver:
    """The observed extremes; nothing is clipped. The base of every observer.

    ``low`` and ``high`` are float64, rank 0; NaN and infinity go through.
    """

    def __init__(self) -> None:
        self.low = torch.tensor(torch.inf, dtype=torch.float64)
        self.high = -self.low

    def observe(self, x: Tensor) -> None:
        """Take one batch, any shape."""
        low, high = torch.aminmax(x.detach())
        self.low = torch.minimum(self.low, low.double().cpu())
        self.high = torch.maximum(self.high, high.double().cpu())

    def qparams(self, quantizer: FakeQuantize) -> Grid:
        """Scale and zero point, after all batches."""
        return qparams_of_range(quantizer, self.low, self.high)

    def error(self, quantizer: FakeQuantize, grids: Grid) -> Tensor:
        """What snapping to a lattice makes small, (K,) for K grids: here the least that covers."""
        low, high = real_ends(quantizer, grids)
        step = grids[0].double()
        covers = (self.low > low - step / 2) & (self.high < high + step / 2)
        return torch.where(covers, step, torch.inf)

    @property
    def set_aside(self) -> int:
        """How many values the range was chosen without: far from all others."""
        return 0
