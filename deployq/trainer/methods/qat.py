"""Plain quantization-aware training with learned step sizes: the baseline of all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deployq.graph.preparation import PreparedModel
from deployq.trainer.batch import BatchClosure
from deployq.trainer.methods.method import Batches, Phase
from deployq.trainer.optimizing import make_schedule
from deployq.trainer.recipe import TrainingRecipe


class QAT:
    """One gradient a step, straight through the quantizers.

    Args:
        recipe: its stages come first, then the epochs of its schedule.
    """

    apart = False

    def __init__(self, recipe: TrainingRecipe) -> None:
        self.recipe = recipe
        self.aside: Mapping[str, PreparedModel] = {}

    def phases(self) -> tuple[Phase, ...]:
        stages = [
            Phase(f"stage {index}", stage.epochs, stage, judged=False)
            for index, stage in enumerate(self.recipe.stages, 1)
        ]
        return (*stages, Phase("training", self.recipe.schedule.epochs))

    def enter(self, phase: Phase, prepared: PreparedModel, batches: Batches) -> PreparedModel:
        return prepared

    def begin(self, phase: Phase, prepared: PreparedModel, optimizer: Optimizer) -> None:
        pass

    def schedule(self, phase: Phase, optimizer: Optimizer, steps: int) -> LRScheduler:
        return make_schedule(optimizer, self.recipe.schedule, phase.epochs, steps)

    def gradients(self, closure: BatchClosure) -> None:
        closure()

    def epoch_end(self, phase: Phase, epochs: int) -> Mapping[str, Any]:
        return {}

    def state(self) -> Mapping[str, Any]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        pass
