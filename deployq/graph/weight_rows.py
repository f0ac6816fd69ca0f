"""A weight as one row of values for each of its scales."""

from __future__ import annotations

from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.qparams import PerChannel


def weight_rows(weight: Tensor, quantizer: FakeQuantize) -> Tensor:
    """(scales, values of each) float64 on the CPU."""
    rows, granularity = weight.detach().double().cpu(), quantizer.granularity
    if isinstance(granularity, PerChannel):
        return rows.movedim(granularity.axis, 0).flatten(1)
    return rows.reshape(1, -1)
