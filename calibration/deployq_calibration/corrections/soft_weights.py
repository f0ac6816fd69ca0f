"""Soft rounding of one layer's weight: each code lies between floor and ceiling and learns where.

AdaRound (Nagel et al. 2020, arXiv 2004.10568), eq. 22 to 24.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from deployq_calibration.corrections.scaled_weights import ScaledWeight

ZETA, GAMMA = 1.1, -0.1
"""Stretch of the rectified sigmoid (below eq. 23)."""


class SoftWeight(ScaledWeight):
    """A weight whose codes learn; ``position`` is V of eq. 22."""

    def __init__(self, module: fx.GraphModule, node: fx.Node, any_scale: bool) -> None:
        super().__init__(module, node, any_scale)
        steps = self.steps()
        self.floor = torch.floor(steps)
        part = (steps - self.floor - GAMMA) / (ZETA - GAMMA)
        self.position = nn.Parameter(torch.logit(part))

    def height(self) -> Tensor:
        """h(V) of eq. 23, 0 to 1, the shape of the weight."""
        return (torch.sigmoid(self.position) * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)

    def running_codes(self) -> Tensor:
        qtype = self.quantizer.qtype
        return (self.floor + self.height()).clamp(qtype.qmin, qtype.qmax)

    def pull(self, beta: float) -> Tensor:
        """The regularizer of eq. 24, which makes h(V) end at 0 or 1."""
        return (1.0 - (2.0 * self.height() - 1.0).abs().pow(beta)).sum()

    @torch.no_grad()
    def codes(self) -> Tensor:
        """Floor or ceiling, whichever is nearer."""
        qtype = self.quantizer.qtype
        codes = (self.floor + (self.height() >= 0.5)).clamp(qtype.qmin, qtype.qmax)
        return torch.where(self.learnable(), codes, torch.zeros_like(codes))
