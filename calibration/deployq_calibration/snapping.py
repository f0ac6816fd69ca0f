"""Puts the scales of activations on a profile's lattice."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.lattice import lattice_of, neighbours
from deployq.graph.scales.ranges import Grid, has_free_zero_point, real_ends
from deployq_calibration.observers import Observer
from deployq_targets.tensors import Activation


def snap_activation(
    quantizer: FakeQuantize, observer: Observer, grid: Grid, section: Activation
) -> Grid:
    """The neighbour on the profile's lattice that suits the observer better; the grid, if none.

    A free zero point is chosen anew, so that one end of the range or the other stays.
    """
    lattice = lattice_of(section)
    if lattice is None or quantizer.fixed_scale is not None:
        return grid
    scales, zero_points = [], []
    for scale in neighbours(grid[0], lattice, quantizer.scale_limit):
        for zero_point in _zero_points(quantizer, grid, scale):
            scales.append(scale)
            zero_points.append(zero_point)
    candidates = torch.stack(scales), torch.stack(zero_points)
    best = int(observer.error(quantizer, candidates).argmin())
    return candidates[0][best], candidates[1][best]


def _zero_points(quantizer: FakeQuantize, grid: Grid, scale: Tensor) -> list[Tensor]:
    if not has_free_zero_point(quantizer):
        return [grid[1]]
    low, high = real_ends(quantizer, grid)
    qtype, step = quantizer.qtype, scale.double()
    found = (qtype.qmin - torch.round(low / step), qtype.qmax - torch.round(high / step))
    return [zero_point.clamp(qtype.qmin, qtype.qmax).long() for zero_point in found]
