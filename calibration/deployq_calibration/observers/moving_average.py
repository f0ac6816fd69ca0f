"""Smoothed extremes of the batches."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq_calibration.observers.minmax import MinMaxObserver

AVERAGING = 0.01
"""``torch.ao.quantization.MovingAverageMinMaxObserver``'s averaging constant."""


class MovingAverageObserver(MinMaxObserver):
    """``low += averaging (batch's low - low)``, and so ``high``; the first batch sets both.

    The one observer that depends on the order and on the size of the batches. From
    ``torch.ao.quantization.MovingAverageMinMaxObserver``.

    Args:
        averaging: weight of the newest batch, in (0, 1].
    """

    def __init__(self, averaging: float = AVERAGING) -> None:
        super().__init__()
        self.averaging = averaging

    def observe(self, x: Tensor) -> None:
        low, high = (end.double().cpu() for end in torch.aminmax(x.detach()))
        if bool(self.low > self.high):  # nothing seen yet
            self.low, self.high = low, high
        else:
            self.low = self.low + self.averaging * (low - self.low)
            self.high = self.high + self.averaging * (high - self.high)
