"""The ball that a sharpness-aware step climbs in: its members, their gradients and units.

One l2 ball over all members together (Foret et al. 2021, arXiv 2010.01412, eq. 2): a member with
gradient ``g`` and unit ``u`` moves by ``radius * u**2 * g / norm``, where ``norm`` is that of all
``u * g``. With ``u = 1`` these are lengths as they are. A weight whose unit is its standard
deviation moves as one of unit variance would that is scaled afterwards, so a radius means the same
for every layer scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor, nn

from deployq.graph.integers import LinearCall

TINY = 1e-12
"""Keeps a vanishing gradient from dividing by zero, as in the released code of SAQ."""


class Kind(StrEnum):
    """What a member is, for switches and reports."""

    WEIGHTS = "weights"
    BIASES = "biases"
    NORMS = "norms"
    SCALES = "scales"


class Member(Protocol):
    """One tensor of the ball."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    def watch(self) -> None:
        """Before the first pass: see to it that the gradient is there after it."""

    def gradient(self) -> Tensor | None:
        """Of the first pass; None where none arrived."""

    def unit(self) -> Tensor | float:
        """Length that counts as one, a scalar."""

    def perturb(self, by: Tensor) -> None:
        """Move for the second pass."""

    def restore(self) -> None:
        """Take the move back, bit for bit."""


class MovedParameter:
    """A parameter that is itself moved and put back from a copy.

    Args:
        name, parameter: of the network.
        kind: what it is.
        by_deviation: its unit is its standard deviation, else one.
    """

    def __init__(
        self, name: str, parameter: nn.Parameter, kind: Kind, *, by_deviation: bool = False
    ) -> None:
        self.name, self.kind = name, kind
        self._parameter, self._by_deviation = parameter, by_deviation
        self._before: Tensor | None = None

    def watch(self) -> None:
        return

    def gradient(self) -> Tensor | None:
        return self._parameter.grad

    def unit(self) -> Tensor | float:
        return deviation(self._parameter) if self._by_deviation else 1.0

    def perturb(self, by: Tensor) -> None:
        with torch.no_grad():
            self._before = self._parameter.clone()
            self._parameter.add_(by)

    def restore(self) -> None:
        if self._before is not None:
            with torch.no_grad():
                self._parameter.copy_(self._before)
        self._before = None


class QuantizedWeight:
    """The quantized weight of a layer, moved behind the quantizer: ``Q(w) + eps``.

    A leaf of zeros is added to ``Q(w)`` in the first pass: its gradient is ``dL/dQ(w)``, before
    the straight-through mask, and it accumulates over micro-batches like any other.

    Args:
        call: of the layer.
        masked: take the gradient of the latent weight, zero where clipped (case 1).
        by_deviation: the unit is the standard deviation of what the quantizer sees, else one.
    """

    kind = Kind.WEIGHTS

    def __init__(self, call: LinearCall, *, masked: bool, by_deviation: bool) -> None:
        self.name = call.name
        self._call, self._layer = call, call.unit
        self._masked, self._by_deviation = masked, by_deviation

    def watch(self) -> None:
        if self._layer.perturbation is None or not self._layer.perturbation.requires_grad:
            zeros = torch.zeros_like(self._call.weight, dtype=torch.float32)
            self._layer.perturbation = zeros.requires_grad_()

    def gradient(self) -> Tensor | None:
        probe = self._layer.perturbation
        grad = None if probe is None else probe.grad
        if grad is None or not self._masked:
            return grad
        return torch.where(self._layer.weight_quantizer.passes(self._call.seen_weight()), grad, 0.0)

    def unit(self) -> Tensor | float:
        return deviation(self._call.seen_weight()) if self._by_deviation else 1.0

    def perturb(self, by: Tensor) -> None:
        self._layer.perturbation = by.detach()

    def restore(self) -> None:
        self._layer.perturbation = None


def deviation(values: Tensor) -> Tensor:
    """Standard deviation of a whole tensor, a scalar; one of a single value."""
    values = values.detach().float()
    return values.std() if values.numel() > 1 else torch.ones((), device=values.device)


@dataclass(frozen=True)
class Climb:
    """The move that a gradient asks for.

    Args:
        norm: of the gradient over the whole ball, in its units; a scalar tensor.
        moves: member to move.
        squares: each kind's part of the square of the norm.
    """

    norm: Tensor
    moves: Mapping[Member, Tensor]
    squares: Mapping[Kind, Tensor]

    @property
    def is_finite(self) -> bool:
        """False when the pass overflowed; such a gradient points nowhere."""
        return bool(torch.isfinite(self.norm))

    def shares(self) -> dict[str, float]:
        """Share of each kind in the square of the norm: which tensors own the ball."""
        total = float(self.norm) ** 2 + TINY
        return {str(kind): float(square) / total for kind, square in self.squares.items()}


def climb(members: Iterable[Member], radius: float) -> Climb:
    """The first-order maximiser of the loss in the ball.

    Args:
        members: those without a gradient stay where they are.
        radius: length of the move over all members, in their units.
    """
    found = [(member, grad.detach().float()) for member in members
             if (grad := member.gradient()) is not None]  # fmt: skip
    if not found:
        return Climb(torch.zeros(()), {}, {})
    kinds, grads = [member.kind for member, _ in found], [grad for _, grad in found]
    units = torch.stack([torch.as_tensor(m.unit(), device=g.device) for m, g in found])
    squares = (torch.stack(torch._foreach_norm(grads)) * units).square()
    norm = squares.sum().sqrt()
    rates = radius / (norm + TINY) * units.square()
    moves = torch._foreach_mul(grads, list(rates.unbind()))
    parts = {kind: squares[[k is kind for k in kinds]].sum() for kind in dict.fromkeys(kinds)}
    return Climb(norm, {m: move for (m, _), move in zip(found, moves, strict=True)}, parts)
