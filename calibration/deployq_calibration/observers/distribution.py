"""What the histogram says of a tensor: the squared error of any grid, and its quantiles."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.ranges import Grid


class Distribution:
    """A density that is constant in each bin.

    Args:
        edges: (B + 1,) float64, ascending.
        counts: (B,) int64.
    """

    def __init__(self, edges: Tensor, counts: Tensor) -> None:
        self.edges = edges
        self.counts = counts
        density = counts / edges.diff()
        edge = density.new_zeros(1)
        # sum of density (F(right) - F(left)) as one product with F at the edges
        self.weights = torch.cat([edge, density]) - torch.cat([density, edge])

    @property
    def low(self) -> Tensor:
        """The lowest edge of a used bin, at most 0.0."""
        return self.edges[:-1][self.counts > 0].amin().clamp(max=0.0)

    @property
    def high(self) -> Tensor:
        """The highest edge of a used bin, at least 0.0."""
        return self.edges[1:][self.counts > 0].amax().clamp(min=0.0)

    def squared_error(self, quantizer: FakeQuantize, grids: Grid) -> Tensor:
        """Sum of ``(grid(x) - x)**2``, (K,) float64 for K grids; exact for the density.

        With ``u = x / scale`` and ``n`` the saturated code less the zero point, the antiderivative
        of the error is ``scale**3 (n / 12 + (u - n)**3 / 3)``: inside every step it grows by
        ``scale**3 / 12``, outside the range by a cube.
        """
        qtype = quantizer.qtype
        scale, zero_point = (part.reshape(-1, 1).double() for part in grids)
        u = self.edges / scale
        n = torch.round(u).clamp(qtype.qmin - zero_point, qtype.qmax - zero_point)
        u -= n
        return ((u * u * u).mul_(4).add_(n) @ self.weights) * scale[:, 0] ** 3 / 12
