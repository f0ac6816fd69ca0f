"""Training in two passes, SAQ and SAM: the phases of plain training with other gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from deployq.graph.preparation import PreparedModel
from deployq.train import SAM, SAQ
from deployq.train.two_passes import TwoPasses
from deployq.trainer.batch import BatchClosure, Diverged
from deployq.trainer.methods.method import Phase
from deployq.trainer.methods.qat import QAT
from deployq.trainer.recipe import TrainingRecipe


class Sharpness(QAT):
    """Climb, then descend by the gradient found there; ``[saq]`` or ``[sam]`` of the recipe.

    Steps are plain once statistics are frozen: those of the batch normalize most of a perturbation
    away, and without them the same radius is a far larger one.
    """

    apart = True

    def __init__(self, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        self._passes: TwoPasses | None = None
        self._prepared: PreparedModel | None = None

    def begin(self, phase: Phase, prepared: PreparedModel, optimizer: Optimizer) -> None:
        self._prepared = prepared
        if self.recipe.method == "saq":
            self._passes = SAQ(prepared, optimizer, **self.recipe.saq.model_dump())
        else:
            self._passes = SAM(prepared.module, optimizer, **self.recipe.sam.model_dump())

    def gradients(self, closure: BatchClosure) -> None:
        passes = self._held()
        passes.enabled = not self._frozen()
        passes.start()
        if not passes.is_full:
            closure()
            passes.restore()
            return
        with closure.apart():
            closure()
        if not passes.ascend():  # in all processes alike
            passes.restore()
            raise Diverged("a gradient is NaN or infinite")
        try:
            closure()
        finally:
            passes.restore()

    def _frozen(self) -> bool:
        assert self._prepared is not None  # begin comes first
        return any(unit.frozen_statistics for unit in self._prepared.units().values())

    def state(self) -> Mapping[str, Any]:
        return self._held().state_dict()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._held().load_state_dict(dict(state))

    def _held(self) -> TwoPasses:
        assert self._passes is not None  # begin comes first
        return self._passes
