"""Reconstruction of one block: soft weights are trained until its output is the float one's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor, fx

from deployq.graph.fake_quantize import FakeQuantize
from deployq_calibration.corrections.blocks import Block, Call, run_nodes, widest
from deployq_calibration.corrections.settings import CorrectionSettings
from deployq_calibration.corrections.soft_weights import SoftWeight
from deployq_calibration.corrections.streams import ROWS, Stream

WARM_UP = 0.2
"""Part of the steps without the regularizer (AdaRound, section 5)."""

BETA = 20.0, 2.0
"""Exponent of the regularizer when it starts and at the end."""

STRENGTH = 0.01
"""Weight of the regularizer (lambda of eq. 21)."""

JUDGED = 256
"""Samples of which the error before and after is reported."""


@dataclass(frozen=True)
class Reconstruction:
    """A block, what it reads and what it should give.

    Args:
        module: of a prepared model.
        block: the last node is the one that is held to the float network.
        coded: stream in front of the block.
        real: float stream behind the block.
    """

    module: fx.GraphModule
    block: Block
    coded: Stream
    real: Stream

    def loss(self, chosen: Tensor | slice, layers: Mapping[fx.Node, Call]) -> Tensor:
        """Squared error of the chosen samples: sum over channels, mean over the rest."""
        end = self.block.nodes[-1]
        replaced = {**layers, **self._end_in_float()}
        rows = self.coded.rows(self.block, chosen)
        found = run_nodes(self.module, self.block, rows, replaced=replaced)[end]
        wanted = self.real.values[end][chosen].to(found)
        channels = found.shape[1] if found.ndim > 1 else 1
        return (found - wanted).square().mean() * channels

    def _end_in_float(self) -> dict[fx.Node, Call]:
        """The block's last quantizer, if any: its rounding is not this block's to mend."""
        end = self.block.nodes[-1]
        unit = self.module.get_submodule(str(end.target)) if end.op == "call_module" else None
        return {end: partial(_clamp_only, unit)} if isinstance(unit, FakeQuantize) else {}

    @torch.no_grad()
    def widest(self) -> int:
        """Values of the block's largest tensor, of one sample."""
        return widest(self.module, self.block, self.coded.rows(self.block, slice(0, 1)))

    @torch.no_grad()
    def error(self) -> float:
        """:meth:`loss` of the network's own codes over the first samples."""
        count = min(len(self.coded), JUDGED)
        parts = (slice(start, min(start + ROWS, count)) for start in range(0, count, ROWS))
        sums = (float(self.loss(part, {})) * (part.stop - part.start) for part in parts)
        return sum(sums) / count


def _clamp_only(quantizer: FakeQuantize, x: Tensor) -> Tensor:
    before, quantizer.enabled = quantizer.enabled, False
    try:
        y: Tensor = quantizer(x)
    finally:
        quantizer.enabled = before
    return y


def reconstruct(
    task: Reconstruction,
    layers: Mapping[fx.Node, SoftWeight],
    settings: CorrectionSettings,
    generator: Generator,
) -> None:
    """Train the soft weights of a block with Adam.

    The loss is in units of the error that rounding to the nearest makes, so that the regularizer
    weighs the same whatever the scale of the network's activations.
    """
    steps, batch = settings.iterations, settings.batch_of(task.widest())
    unit = max(task.error(), torch.finfo(torch.float32).tiny)
    optimizer = torch.optim.Adam(
        [
            {"params": [layer.position for layer in layers.values()], "lr": settings.learning_rate},
            {"params": [layer.gain for layer in layers.values()], "lr": settings.scale_rate},
        ]
    )
    # the codes keep their rate: the regularizer decides most of them at the very end
    shapes: list[Callable[[int], float]] = [lambda step: 1.0, lambda step: _cosine(step / steps)]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shapes)
    for step in range(steps):
        chosen = torch.randperm(len(task.coded), generator=generator)[:batch]
        optimizer.zero_grad()
        loss = task.loss(chosen, layers) / unit
        beta = exponent(step / steps)
        if beta is not None:
            pulls = [layer.pull(beta) for layer in layers.values()]
            loss = loss + STRENGTH * torch.stack(pulls).sum()
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves backward untyped
        optimizer.step()
        schedule.step()


def exponent(part: float) -> float | None:
    """Beta of eq. 24 after this part (0 to 1) of the steps; None while the codes are free."""
    if part < WARM_UP:
        return None
    first, last = BETA
    return last + (first - last) * _cosine((part - WARM_UP) / (1 - WARM_UP))


def _cosine(part: float) -> float:
    """Half a cosine from 1 to 0."""
    return 0.5 + 0.5 * math.cos(math.pi * part)
