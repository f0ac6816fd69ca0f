"""The training loop that every method of the tables goes through, with the same evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from benchmarks.trained.images import Images
from benchmarks.trained.networks import Network
from deployq.graph.preparation import PreparedModel
from deployq.train import SAM, SAQ, learn_scales, settle_scales
from deployq.trainer.optimizing import make_optimizer
from deployq.trainer.tables import OptimizerTable, ScalesTable

BATCH = 64
SCALE_RATE = 1.0
"""Of the weights' rate, in units of each scale."""
RESTING = 0.2
"""Share of the gradients, the last ones, in which scales and statistics are those deployed.

Steps are plain there for every method: without the statistics of the batch, which normalize most of
a perturbation away, the same radius is a far larger one.
"""

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
    """AdamW, which gets further in few steps than SGD; scales learn at rates of their own."""
    learn_scales(prepared)
    table = OptimizerTable(kind="adamw", rate=rate)
    return make_optimizer(prepared, table, ScalesTable(rate=SCALE_RATE))


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
    net: Network, images: Images, settings: Settings, *, evaluations: int, seed: int
) -> PreparedModel:
    """Train from the start, the rate falling along a cosine; the model is the network's own.

    Args:
        evaluations: gradients to compute, a batch each, whatever the method takes for a step.
        seed: of order and augmentation.
    """
    prepared = net.restarted()
    optimizer = optimizer_of(prepared, settings.rate)
    step, batches = step_of(settings, prepared, optimizer), images.stream(BATCH, seed)
    resting = round(evaluations * RESTING)
    steps = round((evaluations - resting) / settings.evaluations)
    schedule = cosine(optimizer, steps + resting)
    prepared.module.train()
    run(net.compiled, batches, step, schedule, steps)
    rest(prepared)
    run(net.compiled, batches, plain_step(optimizer), schedule, resting)
    prepared.module.eval()
    return prepared


def rest(prepared: PreparedModel) -> None:
    """From here on what is trained is what is evaluated: scales and statistics stay."""
    settle_scales(prepared)
    for unit in prepared.units().values():
        unit.frozen_statistics = True


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    """From the optimizer's rate to nothing."""
    return LambdaLR(optimizer, lambda k: 0.5 * (1 + math.cos(math.pi * min(k / steps, 1))))


def run(
    module: Callable[[Tensor], Tensor],
    batches: Iterator[tuple[Tensor, Tensor]],
    step: Step,
    schedule: LRScheduler,
    steps: int,
) -> float:
    """Steps of a network in training mode; returns the mean loss."""
    losses = list[Tensor]()
    for _ in range(steps):
        losses.append(step(Backward(module, *next(batches))))
        schedule.step()
    return float(torch.stack(losses).mean())


@dataclass(frozen=True)
class Backward:
    """Forward, loss and backward of one batch."""

    module: Callable[[Tensor], Tensor]
    x: Tensor
    y: Tensor

    def __call__(self) -> Tensor:
        loss = functional.cross_entropy(self.module(self.x), self.y)
        loss.backward()
        return loss.detach()
