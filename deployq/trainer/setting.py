"""What stays the same during a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployq.trainer.batches import Cut
from deployq.trainer.identity import Identity
from deployq.trainer.opening import Opened
from deployq.trainer.ranks import Ranks
from deployq.trainer.run_log import RunLog
from deployq.trainer.training_set import TrainingSet


@dataclass(frozen=True, eq=False)
class Setting:
    """Recipe, data and surroundings.

    Args:
        opened: the recipe with its model and data.
        train, validation: the data as batches.
        cut: of a batch.
        ranks: this process among its peers.
        identity: of its checkpoints.
        output: the run's folder.
        log: in the first process.
    """

    opened: Opened
    train: TrainingSet
    validation: TrainingSet | None
    cut: Cut
    ranks: Ranks
    identity: Identity
    output: Path
    log: RunLog | None

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return len(self.train) // self.cut.size
