"""SQWA by a recipe: settle on the grid, capture at the end of each cycle, average, fine-tune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deployq.graph.preparation import PreparedModel
from deployq.graph.scales.lattice import has_weight_lattice
from deployq.train import SQWA, CyclicLR, reestimate_norms, settle_scales
from deployq.train.sqwa import freeze_steps
from deployq.trainer.methods.method import Batches, Phase
from deployq.trainer.methods.qat import QAT
from deployq.trainer.optimizing import make_schedule
from deployq.trainer.recipe import TrainingRecipe

SETTLING, CYCLES, FINETUNING = "settling", "cycles", "finetuning"
AVERAGE = "average"
"""The multi-level model, before its weights are quantized again."""


class Averaging(QAT):
    """Plain gradients in three phases; ``[sqwa]`` of the recipe."""

    def __init__(self, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        self.table = recipe.sqwa
        self.high = self.table.high or recipe.optimizer.rate
        self.low = self.table.low or self.high / 100
        self._sqwa: SQWA | None = None

    @property
    def _learned(self) -> bool:
        """Steps learn by plain training, and are frozen for the captures."""
        return self.table.start == "learned"

    def phases(self) -> tuple[Phase, ...]:
        table, fine = self.table, self.table.finetune_rate or 2 * self.low
        cycles = table.captures * table.cycle_epochs
        return (
            Phase(SETTLING, table.settle_epochs, judged=False, learns_steps=self._learned),
            Phase(CYCLES, cycles, judged=False, rate=self.high, learns_steps=False),
            Phase(
                FINETUNING, table.finetune_epochs, rate=fine, learns_steps=False, averaged=True
            ),
        )  # fmt: skip

    def enter(self, phase: Phase, prepared: PreparedModel, batches: Batches) -> PreparedModel:
        if phase.name == SETTLING and not self._learned:
            self._sqwa = _sqwa(prepared)
            self._sqwa.begin()
            reestimate_norms(prepared, batches)
        if phase.name == CYCLES and self._learned:
            if has_weight_lattice(prepared.profile):
                settle_scales(prepared)
            self._sqwa = _sqwa(prepared)
            self._sqwa.begin(refit=False)
        if phase.name != FINETUNING:
            return prepared
        assert self._sqwa is not None
        averaged = self._sqwa.average()
        reestimate_norms(averaged, batches)
        self.aside = {AVERAGE: averaged}
        found = self._sqwa.requantize(averaged, refit=self.table.refit)
        reestimate_norms(found, batches, like=averaged)
        return found

    def begin(self, phase: Phase, prepared: PreparedModel, optimizer: Optimizer) -> None:
        if phase.name == FINETUNING:
            self._sqwa = None
            freeze_steps(prepared)
        elif self._sqwa is None and not (phase.name == SETTLING and self._learned):
            self._sqwa = _sqwa(prepared)

    def schedule(self, phase: Phase, optimizer: Optimizer, steps: int) -> LRScheduler:
        if phase.name != CYCLES:
            return make_schedule(optimizer, self.recipe.schedule, phase.epochs, steps)
        rates = [group["lr"] for group in optimizer.param_groups]
        low = [rate * self.low / self.high for rate in rates]
        cycle = self.table.cycle_epochs * steps
        return CyclicLR(optimizer, high=rates, low=low, cycle_steps=cycle)

    def epoch_end(self, phase: Phase, epochs: int) -> Mapping[str, Any]:
        if phase.name != CYCLES or epochs % self.table.cycle_epochs:
            return {}
        assert self._sqwa is not None
        info = self._sqwa.capture()
        facts = {"captures": info.index + 1, "code_changes": info.code_change_fraction}
        return {name: fact for name, fact in facts.items() if fact is not None}

    def state(self) -> Mapping[str, Any]:
        return {} if self._sqwa is None else self._sqwa.state_dict()

    def load_state(self, state: Mapping[str, Any]) -> None:
        if self._sqwa is not None:
            self._sqwa.load_state_dict(state)


def _sqwa(prepared: PreparedModel) -> SQWA:
    if has_weight_lattice(prepared.profile):
        return SQWA(prepared, settle=settle_scales)
    return SQWA(prepared)
