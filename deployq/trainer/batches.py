"""Which samples an optimizer step takes, and which of them this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.graph.units import QuantizedLinear
from deployq.trainer.batch import Part
from deployq.trainer.recipe import TrainingRecipe
from deployq.trainer.training_set import Epoch, TrainingSet

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Cut:
    """How a batch is cut.

    Args:
        size: samples of an optimizer step, over all processes.
        count: of the processes.
        parts: of the share of one process.
    """

    size: int
    count: int
    parts: int

    @property
    def part(self) -> int:
        """Samples of one part."""
        return self.size // (self.count * self.parts)

    def parts_of(self, data: TrainingSet, epoch: Epoch, step: int, rank: int) -> list[Part]:
        """The parts of one process for an optimizer step of an epoch, counted from 0."""
        rows = epoch.order[step * self.size : (step + 1) * self.size]
        share = np.split(rows, self.count)[rank]
        return [data.batch(part, epoch.draws) for part in np.split(share, self.parts)]

    def inputs(self, data: TrainingSet, epoch: Epoch) -> Iterator[list[Tensor]]:
        """Inputs of all whole parts of an epoch, in its order, for statistics of BatchNorm."""
        for start in range(0, len(data) - self.part + 1, self.part):
            yield data.batch(epoch.order[start : start + self.part], epoch.draws)[0]


def check_cut(cut: Cut, samples: int, prepared: PreparedModel) -> None:
    """Refuse a batch that cannot be cut so, or whose parts BatchNorm cannot learn from.

    Raises:
        InputError: parts of unequal sizes, fewer samples than a batch, or parts of one sample.
    """
    if cut.size % (cut.count * cut.parts):
        raise InputError(
            "batch_size",
            "all processes and their parts take the same number of samples",
            found=f"{cut.size} for {cut.count} processes with {cut.parts} parts each",
            allowed=f"multiples of {cut.count * cut.parts}",
            next_step="change batch_size, accumulate or the number of processes",
        )
    if samples < cut.size:
        raise InputError(
            "batch_size",
            "the training data fill at least one batch",
            found=f"{samples} samples for batches of {cut.size}",
            allowed=f"up to {samples}",
            next_step="state a smaller batch_size, or give more data",
        )
    if cut.part == 1 and _has_norm(prepared):
        raise InputError(
            "batch_size",
            "BatchNorm learns from the statistics of a batch, which one sample does not have",
            found="parts of 1 sample",
            allowed="2 or more for each process and part",
            next_step="state a larger batch_size, or fewer parts (accumulate)",
        )


def check_cycles(recipe: TrainingRecipe, steps: int) -> None:
    """Refuse cycles of SQWA that are too short for a rate to fall in.

    Args:
        recipe: of any method.
        steps: optimizer steps of an epoch.

    Raises:
        InputError: a cycle of one step.
    """
    epochs = recipe.sqwa.cycle_epochs
    if recipe.method == "sqwa" and epochs * steps < 2:
        raise InputError(
            "sqwa.cycle_epochs, batch_size",
            "a cycle of sqwa falls from a high rate to a low one: it has 2 optimizer steps or more",
            found=f"cycle_epochs = {epochs} with {steps} step an epoch",
            allowed="cycle_epochs times the steps of an epoch >= 2",
            next_step="state more cycle_epochs, or a smaller batch_size",
        )


def _has_norm(prepared: PreparedModel) -> bool:
    units = (m for m in prepared.module.modules() if isinstance(m, QuantizedLinear))
    return any(unit.batch_norm != "none" for unit in units) or any(
        isinstance(module, NORMS) for module in prepared.module.modules()
    )
