"""A training step of two passes: climb inside a ball, then descend by the gradient found there.

Common to SAQ and SAM: the members of the ball differ, the step is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deployq.errors import InputError, choose_word
from deployq.train.ball import Climb, Member, climb
from deployq.train.between import Between, LookSam
from deployq.train.frozen_norms import FrozenNorms
from deployq.train.random_draws import RandomDraws
from deployq.train.synchronize import in_all_ranks, mean_over_ranks

Closure = Callable[[], Tensor]
Context = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class SharpStep:
    """What one step saw.

    Args:
        loss: of the first pass, at the weights as they are; of the only one between full steps.
        perturbed: of the second pass; None where there was none. ``perturbed - loss`` is near
            ``radius * norm`` on a smooth loss, never 0 and seldom negative.
        norm: of the gradient over the ball, in its units; None where no step was taken up.
        shares: share of each kind of tensor in the square of that norm.
    """

    loss: Tensor
    perturbed: Tensor | None
    norm: Tensor | None
    shares: dict[str, float]


class TwoPasses:
    """Two passes a step around any optimizer; :meth:`step`, or the four calls that it makes.

    In a loop of the user's own, gradient accumulation, clipping and scaling of losses stay there::

        sharp.start()
        loss_of(batch).backward()
        if sharp.ascend():
            loss_of(batch).backward()
        sharp.restore()
        clip_grad_norm_(...); optimizer.step(); optimizer.zero_grad()

    Args:
        module: the network, moved to its device before.
        optimizer: of its parameters; steps with the gradients of the second pass.
        members: of the ball.
        radius: length of the move, in the members' units, above 0.
        every: a full step every so many; 1 is each one.
        between: what the steps between full ones do.
        look_rate: of ``looksam``: weight of the stored direction.
        freeze_norms: statistics of BatchNorms learn from unperturbed passes alone: the first of
            two, and none of a step that ``reuse`` perturbs. In channels that are all but off, whose
            factor is folded into the weight, perturbed ones grow without bound.
        synchronized: the gradients that point the way are averaged over the ranks of
            ``torch.distributed``; else each rank climbs by its own batch, as in the released code.

    Raises:
        InputError: a radius that is not positive and finite, ``every`` below 1, nothing to perturb.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        members: Sequence[Member],
        *,
        radius: float,
        every: int = 1,
        between: Between | str = Between.PLAIN,
        look_rate: float = 0.7,
        freeze_norms: bool = True,
        synchronized: bool = False,
    ) -> None:
        check_radius(radius)
        _check_every(every)
        if not members:
            raise InputError(
                "sharpness-aware training",
                "the ball has at least one tensor",
                found="none that learns",
                next_step="prepare a network with linear layers, and let its weights learn",
            )
        self.optimizer, self.radius, self.every = optimizer, radius, every
        self.between = choose_word(
            Between,
            between,
            where="between",
            rule="steps between full ones are one of a few kinds",
            next_step="see deployq.train.between",
        )
        self.enabled = True
        self._module, self._members = module, tuple(members)
        self._norms = FrozenNorms(module) if freeze_norms else None
        self._draws = RandomDraws(module)
        self._look = LookSam(module, look_rate) if self.between is Between.LOOKSAM else None
        self._synchronized = synchronized
        self._count = 0
        self._kept: dict[Member, Tensor] = {}
        self._climb: Climb | None = None

    @property
    def is_full(self) -> bool:
        """Whether the step at hand takes two passes."""
        return self.enabled and self._count % self.every == 0

    def start(self) -> None:
        """Before the first pass of a step."""
        self._draws.keep()
        if self.is_full:
            for member in self._members:
                member.watch()
        elif self.enabled and self.between is Between.REUSE:
            for member, move in self._kept.items():
                member.perturb(move)
            if self._norms is not None and self._kept:
                self._norms.freeze()

    def ascend(self) -> bool:
        """After the gradients of the first pass: climb, and clear them.

        Returns:
            Whether a second pass is due. It is not on steps between full ones, nor where the
            gradient of a rank is not finite: it is then left as it is, for a ``GradScaler`` to see.
        """
        if not self.is_full:
            return False
        if self._synchronized:
            mean_over_ranks(
                gradient for m in self._members if (gradient := m.gradient()) is not None
            )
        self._climb = climb(self._members, self.radius)
        if not in_all_ranks(self._climb.is_finite, self._climb.norm.device):
            return False
        if self._look is not None:
            self._look.keep_plain()
        self._module.zero_grad(set_to_none=True)
        for member, move in self._climb.moves.items():
            member.perturb(move)
        if self.between is Between.REUSE and self.every > 1:
            self._kept = dict(self._climb.moves)
        if self._norms is not None:
            self._norms.freeze()
        self._draws.repeat()
        return True

    def restore(self) -> None:
        """After the last pass of a step, before the optimizer's: every tensor is as it was."""
        for member in self._members:
            member.restore()
        if self._norms is not None:
            self._norms.release()
        if self._look is not None and self.enabled:
            self._look.after(full=self.is_full)
        self._count += 1

    def step(self, closure: Closure, first_pass: Context = nullcontext) -> SharpStep:
        """A whole step; where a full one finds a gradient that is not finite, none is taken.

        Args:
            closure: forward, loss and ``backward()``, over all micro-batches; returns the loss.
                It is called twice on full steps and clears no gradients.
            first_pass: makes the context of the first of two passes; ``no_sync`` of a
                DistributedDataParallel spares an exchange of gradients that none need.
        """
        full = self.is_full
        self.start()
        with first_pass() if full else nullcontext():
            loss = closure().detach()
        perturbed = closure().detach() if self.ascend() else None
        self.restore()
        if perturbed is not None or not full:
            self.optimizer.step()
        self._module.zero_grad(set_to_none=True)
        return self.seen(loss, perturbed)

    def seen(self, loss: Tensor, perturbed: Tensor | None) -> SharpStep:
        """What the last step saw, with the losses of its passes."""
        found = self._climb
        if perturbed is None or found is None:
            return SharpStep(loss, perturbed, None, {})
        return SharpStep(loss, perturbed, found.norm, found.shares())

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: the place between full steps, and what is used again there.

        Ranks that do not climb together have perturbations of their own: each keeps its state.
        """
        kept = {member.name: move for member, move in self._kept.items()}
        look = {} if self._look is None else self._look.directions
        return {"count": self._count, "kept": kept, "look": dict(look)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; tensors move to the network's device."""
        device = next(self._module.parameters()).device
        self._count = int(state["count"])
        named = {member.name: member for member in self._members}
        self._kept = {named[name]: move.to(device) for name, move in state["kept"].items()}
        if self._look is not None:
            self._look.directions = {n: kept.to(device) for n, kept in state["look"].items()}


def check_radius(radius: float) -> None:
    """Refuse a radius that moves nothing, or backwards.

    Raises:
        InputError: it is not positive and finite.
    """
    if not 0 < radius < float("inf"):
        raise InputError(
            "radius",
            "the radius of a sharpness-aware step is positive and finite",
            found=str(radius),
            allowed="> 0",
            next_step="take 0.1 to 1; without a perturbation, train with the optimizer alone",
        )


def _check_every(every: int) -> None:
    if every < 1:
        raise InputError(
            "every",
            "a full step comes every so many steps",
            found=str(every),
            allowed=">= 1",
            next_step="1 takes two passes in each step",
        )
