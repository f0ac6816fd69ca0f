"""What the steps between two full ones do; ways of our own to halve the cost.

The paper of SAQ claims a cheap strategy whose mechanism could not be established, and no released
code has one: these are named for what they do.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor, nn

from deployq.train.synchronize import mean_over_ranks


class Between(StrEnum):
    """Steps between full ones, one pass each.

    ``plain``: as without a perturbation. ``reuse``: at the perturbation of the last full step.
    ``looksam``: a plain gradient, turned towards the last full step's (Liu et al. 2022,
    arXiv 2203.02714).
    """

    PLAIN = "plain"
    REUSE = "reuse"
    LOOKSAM = "looksam"


class LookSam:
    """The part of a perturbed gradient that is orthogonal to the plain one, kept and added.

    With plain gradient ``g`` and perturbed ``g_s``: ``g_v = g_s - (g_s . g / |g|**2) g`` is kept at
    full steps, and others take ``g + rate * |g| / |g_v| * g_v``; one vector over all parameters.

    Args:
        module: whose gradients are meant.
        rate: weight of the kept direction.
    """

    def __init__(self, module: nn.Module, rate: float) -> None:
        self._module, self._rate = module, rate
        self._plain: dict[str, Tensor] = {}
        self.directions: dict[str, Tensor] = {}

    def keep_plain(self) -> None:
        """After the first pass of a full step, whose gradients may be this rank's alone."""
        self._plain = {name: grad.clone() for name, grad in self._gradients().items()}
        mean_over_ranks(self._plain.values())

    def after(self, *, full: bool) -> None:
        """After the last pass: keep the direction of a full step, or add the kept one.

        A direction that is not finite, as where the second pass overflowed, is none.
        """
        grads = self._gradients()
        if full and self._plain:
            along = _dot(grads, self._plain) / _dot(self._plain, self._plain).clamp(min=TINY)
            self.directions = {n: g - along * self._plain[n] for n, g in grads.items()
                               if n in self._plain}  # fmt: skip
            if not bool(_dot(self.directions, self.directions).isfinite()):
                self.directions = {}
            self._plain = {}
        elif not full and self.directions:
            self._add(grads)

    def _add(self, grads: dict[str, Tensor]) -> None:
        length = _dot(grads, grads).sqrt()
        factor = self._rate * length / _dot(self.directions, self.directions).sqrt().clamp(min=TINY)
        for name, grad in grads.items():
            if name in self.directions:
                grad.add_(factor * self.directions[name])

    def _gradients(self) -> dict[str, Tensor]:
        named = self._module.named_parameters()
        return {name: p.grad for name, p in named if p.grad is not None}


TINY = 1e-30
"""Below it a gradient has no direction."""


def _dot(left: dict[str, Tensor], right: dict[str, Tensor]) -> Tensor:
    products = [(left[n].float() * right[n].float()).sum() for n in left if n in right]
    return torch.stack(products).sum() if products else torch.zeros(())
