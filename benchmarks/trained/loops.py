"""The training loop that every method of the tables goes through, with the same evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

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

    def plain(closure: Callable[[], Tensor]) -> Tensor:
        loss = closure()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return plain


def train(
    prepared: PreparedModel, images: Images, settings: Settings, *, evaluations: int, seed: int
) -> float:
    """Train in place; returns the mean loss of the last pass over the images.

    Args:
        evaluations: gradients to compute, a batch each, whatever the method takes for a step.
        seed: of order and augmentation.
    """
    optimizer = optimizer_of(prepared, settings.rate)
    step, module = step_of(settings, prepared, optimizer), prepared.module.train()
    steps, done, losses = round(evaluations / settings.evaluations), 0, list[float]()
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: 0.5 * (1 + math.cos(math.pi * min(k / steps, 1)))
    )
    epoch = 0
    while done < steps:
        losses = []
        for x, y in images.batches(BATCH, seed, epoch):
            if done == steps:
                break
            losses.append(float(step(lambda x=x, y=y: _backward(module, x, y))))  # type: ignore[misc] # mypy cannot infer a lambda with defaults
            schedule.step()
            done += 1
        epoch += 1
    module.eval()
    return sum(losses) / max(len(losses), 1)


def _backward(module: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
    loss = functional.cross_entropy(module(x), y)
    loss.backward()
    return loss
