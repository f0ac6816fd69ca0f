"""The training loop that every method of the tables goes through, with the same evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from benchmarks.trained.images import Images
from deployq.graph.preparation import PreparedModel
from deployq.train import SAM, SAQ, learn_scales

BATCH, MOMENTUM, DECAY = 64, 0.9, 1e-4
SCALE_RATE = 0.1
"""Of the weights' rate: scales are learned slower."""

Step = Callable[[Callable[[], Tensor]], Tensor]
"""One step of a method: takes a closure of forward, loss and backward; gives the loss."""


@dataclass(frozen=True)
class Settings:
    """What was chosen for a method.

    Args:
        method: ``qat``, ``sam`` or ``saq``.
        rate: highest learning rate; falls to nothing along a cosine.
        radius: of ``sam`` and ``saq``.
        every, between: of ``saq``.
    """

    method: str
    rate: float
    radius: float = 0.0
    every: int = 1
    between: str = "plain"

    @property
    def evaluations(self) -> float:
        """Gradients that a step computes."""
        return 1.0 if self.method == "qat" else 1.0 + 1.0 / self.every


def optimizer_of(prepared: PreparedModel, rate: float) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; scales learn slower, and nothing pulls at them."""
    scales = learn_scales(prepared)
    known = {id(scale) for scale in scales}
    rest = [p for p in prepared.module.parameters() if p.requires_grad and id(p) not in known]
    groups = [
        {"params": rest, "weight_decay": DECAY},
        {"params": scales, "lr": rate * SCALE_RATE, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, rate, MOMENTUM, nesterov=True)


def step_of(settings: Settings, prepared: PreparedModel, optimizer: torch.optim.Optimizer) -> Step:
    """What a method does with one batch."""
    if settings.method == "sam":
        sam = SAM(prepared.module, optimizer, radius=settings.radius)
        return lambda closure: sam.step(closure).loss
    if settings.method == "saq":
        saq = SAQ(
            prepared, optimizer, radius=settings.radius, every=settings.every,
            between=settings.between,
        )  # fmt: skip
        return lambda closure: saq.step(closure).loss

    return plain_step(optimizer)


def plain_step(optimizer: torch.optim.Optimizer) -> Step:
    """One pass."""

    def step(closure: Callable[[], Tensor]) -> Tensor:
        loss = closure()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step


def train(
    prepared: PreparedModel, images: Images, settings: Settings, *, evaluations: int, seed: int
) -> None:
    """Train in place, the rate falling along a cosine.

    Args:
        evaluations: gradients to compute, a batch each, whatever the method takes for a step.
        seed: of order and augmentation.
    """
    optimizer = optimizer_of(prepared, settings.rate)
    step = step_of(settings, prepared, optimizer)
    steps = round(evaluations / settings.evaluations)
    run(prepared, images.stream(BATCH, seed), step, cosine(optimizer, steps), steps)
    prepared.module.eval()


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    """From the optimizer's rate to nothing."""
    return LambdaLR(optimizer, lambda k: 0.5 * (1 + math.cos(math.pi * min(k / steps, 1))))


def run(
    prepared: PreparedModel,
    batches: Iterator[tuple[Tensor, Tensor]],
    step: Step,
    schedule: LRScheduler,
    steps: int,
) -> float:
    """Steps in training mode; returns the mean loss."""
    module, losses = prepared.module.train(), list[Tensor]()
    for _ in range(steps):
        losses.append(step(Backward(module, *next(batches))))
        schedule.step()
    return float(torch.stack(losses).mean())


@dataclass(frozen=True)
class Backward:
    """Forward, loss and backward of one batch."""

    module: nn.Module
    x: Tensor
    y: Tensor

    def __call__(self) -> Tensor:
        loss = functional.cross_entropy(self.module(self.x), self.y)
        loss.backward()
        return loss.detach()
