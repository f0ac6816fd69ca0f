"""What the steps between two full ones do; ways of our own to halve the cost.

The paper of SAQ claims a cheap strategy whose mechanism could not be established, and no released
code has one: these are named for what they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
        """After the last pass: keep the direction of a full step, or add the kept one."""
        grads = self._gradients()
        if full and self._plain:
            self.directions = _across(grads, self._plain)
            self._plain = {}
        elif not full and self.directions:
            self._add(grads)

    def _add(self, grads: dict[str, Tensor]) -> None:
        names = [name for name in grads if name in self.directions]
        kept = [self.directions[name] for name in names]
        factor = self._rate * _length(grads.values()) / _length(kept).clamp(min=TINY)
        torch._foreach_add_([grads[name] for name in names], torch._foreach_mul(kept, factor))

    def _gradients(self) -> dict[str, Tensor]:
        named = self._module.named_parameters()
        return {name: p.grad for name, p in named if p.grad is not None}


TINY = 1e-30
"""Below it a gradient has no direction."""


def _across(sharp: dict[str, Tensor], plain: dict[str, Tensor]) -> dict[str, Tensor]:
    """What of a perturbed gradient is orthogonal to the plain one; nothing if it overflowed."""
    names = [name for name in sharp if name in plain]
    ahead, base = [sharp[name] for name in names], [plain[name] for name in names]
    along = _dot(ahead, base) / _dot(base, base).clamp(min=TINY)
    found = torch._foreach_sub(ahead, torch._foreach_mul(base, along))
    if not bool(_length(found).isfinite()):
        return {}
    return dict(zip(names, found, strict=True))


def _dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    products = [(a.float() * b.float()).sum() for a, b in zip(left, right, strict=True)]
    return torch.stack(products).sum() if products else torch.zeros(())


def _length(tensors: Iterable[Tensor]) -> Tensor:
    norms = torch._foreach_norm([tensor.float() for tensor in tensors])
    return torch.stack(norms).norm() if norms else torch.zeros(())
