"""What the loop asks of a training method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deployq.graph.preparation import PreparedModel
from deployq.trainer.batch import BatchClosure
from deployq.trainer.tables import StageTable

Batches = Callable[[], Iterator[list[Tensor]]]
"""Inputs of the training samples, a batch at a time."""


@dataclass(frozen=True)
class Phase:
    """A part of a run with a model and an optimizer of its own.

    Args:
        name: for the log.
        epochs: at least one.
        stage: widths that differ from the recipe's.
        judged: its epochs compete for the best.
        rate: highest learning rate, where it is not the optimizer's.
        learns_steps: scales of weights may learn.
        averaged: the model that it begins with is judged too.
    """

    name: str
    epochs: int
    stage: StageTable | None = None
    judged: bool = True
    rate: float | None = None
    learns_steps: bool = True
    averaged: bool = False


class Method(Protocol):
    """How gradients are made, and what happens between epochs; one file each.

    Attributes:
        apart: each process has a state of its own.
        aside: models that a phase made on the way, to be kept under their names.
    """

    apart: bool
    aside: Mapping[str, PreparedModel]

    def phases(self) -> tuple[Phase, ...]:
        """The parts of the run, in order."""

    def enter(self, phase: Phase, prepared: PreparedModel, batches: Batches) -> PreparedModel:
        """The model that a phase begins with; not called where a run is resumed inside it.

        Args:
            prepared: at the widths of the phase: calibrated, or as the phase before left it.
            batches: for statistics of BatchNorm.
        """

    def begin(self, phase: Phase, prepared: PreparedModel, optimizer: Optimizer) -> None:
        """Take hold of the model and the optimizer of a phase, in a fresh run and a resumed one."""

    def schedule(self, phase: Phase, optimizer: Optimizer, steps: int) -> LRScheduler:
        """The learning rate of a phase; ``steps`` optimizer steps make an epoch."""

    def gradients(self, closure: BatchClosure) -> None:
        """Leave the gradients of a step in ``.grad``, and the weights as they were.

        Raises:
            Diverged: in all processes, where a loss or a gradient is not finite in one.
        """

    def epoch_end(self, phase: Phase, epochs: int) -> Mapping[str, Any]:
        """Called after each epoch with how many of the phase are done; facts for the log."""

    def state(self) -> Mapping[str, Any]:
        """Plain nested state for a checkpoint."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`, after :meth:`begin`."""
