"""One batch of training: forward, loss and backward, over the parts it is cut into."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deployq.trainer.losses import Criterion, first_output
from deployq.trainer.ranks import Ranks, apart

Part = tuple[list[Tensor], Tensor]
"""Inputs and labels."""


class Diverged(Exception):
    """A loss or a gradient is NaN or infinite."""


@dataclass(frozen=True)
class Stepping:
    """What every batch of a phase is computed with.

    Args:
        network: computes scores, compiled or not.
        module: the same with its gradients shared with the other processes.
        criterion: its loss.
        ranks: this process among its peers.
        bfloat16: autocast to it.
    """

    network: nn.Module
    module: nn.Module
    criterion: Criterion
    ranks: Ranks
    bfloat16: bool

    def forward(self, module: nn.Module, inputs: list[Tensor]) -> Tensor:
        """Scores (n, classes) of one of the two."""
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.bfloat16):
            return first_output(module(*inputs))

    def moved(self, part: Part) -> Part:
        """On the device that trains."""
        inputs, labels = part
        return [x.to(self.ranks.device) for x in inputs], labels.to(self.ranks.device)


class BatchClosure:
    """Computes the gradients of one batch; a method may call it more than once.

    Each call draws the same random numbers, so that dropout is the same in both passes of a
    sharpness-aware step.

    Args:
        stepping: of the phase.
        parts: of this process, all of one size.
        seed: of the step in this process.
    """

    def __init__(self, stepping: Stepping, parts: list[Part], seed: int) -> None:
        self.stepping = stepping
        self.parts = parts
        self.seed = seed
        self.sums: list[float] | None = None

    def __call__(self) -> Tensor:
        """The mean loss, detached.

        Raises:
            Diverged: in all processes, where the loss of one is not finite.
        """
        torch.manual_seed(self.seed)
        loss, right = 0.0, 0
        total = torch.zeros((), device=self.stepping.ranks.device)
        for index, part in enumerate(self.parts):
            last = index == len(self.parts) - 1
            with nullcontext() if last else apart(self.stepping.module):
                part_loss, part_right = self._backward(*self.stepping.moved(part))
            total += part_loss / len(self.parts)
            right += part_right
        loss, count = float(total), sum(len(labels) for _, labels in self.parts)
        bad = float(not math.isfinite(loss))
        sums = [0.0 if bad else loss * count, float(right), float(count), bad]
        *sums, bad = self.stepping.ranks.total(sums)
        if bad:
            raise Diverged("the loss is NaN or infinite")
        self.sums = self.sums or sums  # of the first call: at the weights themselves
        return total

    def apart(self) -> AbstractContextManager[None]:
        """Calls in the block keep the gradients of this process to itself."""
        return apart(self.stepping.module)

    def _backward(self, inputs: list[Tensor], labels: Tensor) -> tuple[Tensor, int]:
        scores = self.stepping.forward(self.stepping.module, inputs)
        loss = self.stepping.criterion(scores, inputs, labels)
        (loss / len(self.parts)).backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        return loss.detach(), int((scores.argmax(1) == labels).sum())
