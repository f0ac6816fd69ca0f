"""How much is trained: on two cores in a pause, or on a GPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Sizes of a run.

    Args:
        images: training images.
        evaluations: gradients of a batch, the same for every method of a table.
        cycle: of them in one cycle of SQWA.
        finetuning: of them after an average.
        captures: models that are averaged.
        seeds: how often everything is trained.
    """

    images: int
    evaluations: int
    cycle: int
    finetuning: int
    captures: int
    seeds: int

    @property
    def settling(self) -> int:
        """Gradients before the first cycle of SQWA, so that all methods compute as many."""
        return self.evaluations - self.captures * self.cycle - self.finetuning


QUICK = Budget(images=2000, evaluations=480, cycle=36, finetuning=48, captures=7, seeds=3)
FULL = Budget(images=10_000, evaluations=9600, cycle=624, finetuning=624, captures=7, seeds=5)
BUDGETS = {"quick": QUICK, "full": FULL}
