"""Observers: statistics of one activation, in one or two streamed passes over the data.

Memory does not grow with the data and the order of the batches does not matter.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.qparams import PerChannel
from deployq_calibration.ranges import fake_quantize_float64, qparams_of_range

HISTOGRAM_BINS = 4096
SHRINK_STEPS = 100
"""Candidate ranges of the MSE search: 1 % to 100 % of the observed range."""


class Observer(Protocol):
    """Statistics of one tensor."""

    passes: int

    def observe(self, x: Tensor, number: int) -> None:
        """Take one batch in pass ``number`` (0 first)."""

    def qparams(self, quantizer: FakeQuantize) -> tuple[Tensor, Tensor]:
        """Scale and zero point, after all passes."""

    def saw_only_zero(self) -> bool:
        """True when every observed value was zero."""


class MinMaxObserver:
    """The observed extremes; nothing is clipped."""

    passes = 1

    def __init__(self) -> None:
        self.low = torch.tensor(torch.inf, dtype=torch.float64)
        self.high = -self.low

    def observe(self, x: Tensor, number: int) -> None:
        low, high = torch.aminmax(x.detach())
        self.low = torch.minimum(self.low, low.double().cpu())
        self.high = torch.maximum(self.high, high.double().cpu())

    def qparams(self, quantizer: FakeQuantize) -> tuple[Tensor, Tensor]:
        return qparams_of_range(quantizer, self.low, self.high)

    def saw_only_zero(self) -> bool:
        return bool((self.low == 0.0) & (self.high == 0.0))


class MSEObserver(MinMaxObserver):
    """The range whose grid has the least mean squared error over a histogram of the tensor.

    Pass 0 finds the extremes, pass 1 counts into :data:`HISTOGRAM_BINS` equal bins between them;
    each bin stands for its centre.
    """

    passes = 2

    def __init__(self) -> None:
        super().__init__()
        self.counts = torch.zeros(HISTOGRAM_BINS, dtype=torch.float64)

    def observe(self, x: Tensor, number: int) -> None:
        if number == 0:
            super().observe(x, number)
        elif self._has_bins():
            x = x.detach().float().cpu().flatten()
            low, high = float(self.low), float(self.high)
            self.counts += torch.histc(x, HISTOGRAM_BINS, low, high).double()

    def qparams(self, quantizer: FakeQuantize) -> tuple[Tensor, Tensor]:
        if not self._has_bins():
            return super().qparams(quantizer)
        centres, shrink = self._centres(), _shrinks()
        scale, zero_point = qparams_of_range(quantizer, self.low * shrink, self.high * shrink)
        grid = fake_quantize_float64(centres, quantizer, scale[:, None], zero_point[:, None])
        error = ((grid - centres) ** 2 * self.counts).sum(1)
        best = int(error.argmin())  # the first, so the widest, of equal ranges
        return scale[best], zero_point[best]

    def _has_bins(self) -> bool:
        """False for a constant, and for values that are not finite: NaN compares false."""
        return bool((self.low < self.high) & torch.isfinite(self.high - self.low))

    def _centres(self) -> Tensor:
        """(HISTOGRAM_BINS,) float64: the middle of each bin."""
        width = (self.high - self.low) / HISTOGRAM_BINS
        return self.low + width * (torch.arange(HISTOGRAM_BINS, dtype=torch.float64) + 0.5)


def _shrinks() -> Tensor:
    """Factors of the observed range, the whole range first, float64."""
    return torch.linspace(1, 1 / SHRINK_STEPS, SHRINK_STEPS, dtype=torch.float64)


OBSERVERS: dict[str, type[MinMaxObserver]] = {"minmax": MinMaxObserver, "mse": MSEObserver}


def make_observer(name: str) -> Observer:
    """An observer by name.

    Raises:
        InputError: no such observer.
    """
    _check_known(name)
    return OBSERVERS[name]()


def _check_known(name: str) -> None:
    if name not in OBSERVERS:
        raise InputError(
            "observer",
            "the observer must exist",
            found=name,
            allowed=", ".join(OBSERVERS),
            next_step="choose one of these",
        )


def weight_qparams(weight: Tensor, quantizer: FakeQuantize, method: str) -> tuple[Tensor, Tensor]:
    """Scale and zero point of a weight, exact over its values.

    Args:
        weight: any shape; per-channel scales lie along the axis of the granularity.
        quantizer: gives type, granularity and symmetry.
        method: ``minmax`` or ``mse``.

    Raises:
        InputError: another method.
    """
    _check_known(method)
    rows = weight.detach().double().cpu()
    granularity = quantizer.granularity
    if isinstance(granularity, PerChannel):
        rows = rows.movedim(granularity.axis, 0).flatten(1)
    else:
        rows = rows.reshape(1, -1)
    low, high = rows.amin(1), rows.amax(1)
    scale, zero_point = qparams_of_range(quantizer, low, high)
    if method == "mse":
        scale, zero_point = _least_error(rows, quantizer, low, high)
    shape = quantizer.scale.shape
    return scale.reshape(shape), zero_point.reshape(shape)


def _least_error(
    rows: Tensor, quantizer: FakeQuantize, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """For each row, the shrunk range with the least squared error, the widest of equal ones."""
    scale, zero_point = qparams_of_range(quantizer, low, high)
    best = torch.full_like(low, torch.inf)
    for shrink in _shrinks():
        trial, offset = qparams_of_range(quantizer, low * shrink, high * shrink)
        grid = fake_quantize_float64(rows, quantizer, trial[:, None], offset[:, None])
        error = ((grid - rows) ** 2).sum(1)
        better = error < best
        best = torch.where(better, error, best)
        scale = torch.where(better, trial, scale)
        zero_point = torch.where(better, offset, zero_point)
    return scale, zero_point
