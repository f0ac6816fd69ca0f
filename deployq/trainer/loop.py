"""The loop: phases of epochs of optimizer steps, a checkpoint between any two of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.graph.prepared_files import GRAPH_FILE, save_prepared_model
from deployq.staging import replacing_folder
from deployq.train import learn_scales
from deployq.trainer.batch import BatchClosure, Diverged, Stepping
from deployq.trainer.batches import Cut
from deployq.trainer.checkpoints import Checkpoint, Identity, write_checkpoint
from deployq.trainer.evaluating import evaluate
from deployq.trainer.losses import Criterion
from deployq.trainer.methods import Method, Phase
from deployq.trainer.opening import Opened, quantizers
from deployq.trainer.optimizing import make_optimizer, quantizer_prefixes
from deployq.trainer.position import Best, Position, Score
from deployq.trainer.ranks import Ranks
from deployq.trainer.run_log import RunLog
from deployq.trainer.training_set import Epoch, TrainingSet

BEST, LAST = "prepared", "last"
"""Folders of the prepared models: the best epoch's, and the last one's."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What stays the same during a run.

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


class Loop:
    """A run under way.

    Args:
        setting: of the run.
        method: how gradients are made.
        criterion: the loss.
    """

    def __init__(self, setting: Setting, method: Method, criterion: Criterion) -> None:
        self.setting = setting
        self.recipe = setting.opened.recipe
        self.method = method
        self.criterion = criterion
        self.phases = method.phases()
        self.position = Position()
        self.prepared = setting.opened.prepared(self.phase.stage)

    @property
    def phase(self) -> Phase:
        """The one under way."""
        return self.phases[self.position.phase]

    def start(self) -> None:
        """Begin the first phase; its checkpoint is that of the calibrated model."""
        self.setting.opened.calibrate(self.prepared)
        self._enter(self.prepared)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.position = checkpoint.position
        self.prepared = self.setting.opened.prepared(self.phase.stage)
        for quantizer in quantizers(self.prepared):
            quantizer.calibrated = True
        self._begin()
        self.prepared.module.load_state_dict(checkpoint.state["module"])
        self.optimizer.load_state_dict(checkpoint.state["optimizer"])
        self.schedule.load_state_dict(checkpoint.state["schedule"])
        self.method.load_state(checkpoint.state["method"])

    def run(self) -> None:
        """To the end of the last phase.

        Raises:
            Diverged: a loss or a gradient is not finite; the last checkpoint is from before it.
        """
        self._report()
        while True:
            while self.position.phase_epochs < self.phase.epochs:
                self._epoch()
            if self.position.phase + 1 == len(self.phases):
                break
            self.position.phase_ended()
            self._enter(self._carried())
        self._save(LAST)
        if self.position.best is None:
            self._save(BEST)

    def _enter(self, prepared: PreparedModel) -> None:
        setting, train = self.setting, self.setting.train
        epoch = train.epoch(self.position.epochs)
        self.prepared = self.method.enter(
            self.phase, prepared, lambda: setting.cut.inputs(train, epoch)
        )
        self._begin()
        self._checkpoint()

    def _begin(self) -> None:
        """Optimizer, schedule and method of a phase around its model."""
        recipe, module = self.recipe, self.prepared.module
        module.to(self.setting.ranks.device)
        learn_everything(self.prepared, recipe.scales.activations, recipe.scales.weights)
        self.optimizer = make_optimizer(self.prepared, recipe.optimizer, recipe.scales)
        self.schedule = self.method.schedule(self.phase, self.optimizer, self.setting.steps)
        self.method.begin(self.phase, self.prepared, self.optimizer)
        network: Any = torch.compile(module) if recipe.compile else module
        shared = self.setting.ranks.shared(network)
        bfloat16 = recipe.amp == "bfloat16"
        self.stepping = Stepping(network, shared, self.criterion, self.setting.ranks, bfloat16)

    def _carried(self) -> PreparedModel:
        """The model of the next phase with what this one learned."""
        before, opened = self.phases[self.position.phase - 1], self.setting.opened
        if self.phase.stage == before.stage:
            return self.prepared
        prepared = opened.prepared(self.phase.stage)
        state, own = self.prepared.module.state_dict(), quantizer_prefixes(prepared)
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(own)}
        prepared.module.load_state_dict(kept, strict=False)
        opened.calibrate(prepared)
        return prepared

    def _epoch(self) -> None:
        setting, position = self.setting, self.position
        epoch = setting.train.epoch(position.epochs)
        self.prepared.module.train()
        for step in range(position.steps, setting.steps):
            self._step(epoch, step)
            every = self.recipe.checkpoint_steps
            if every and position.taken % every == 0 and position.steps < setting.steps:
                self._checkpoint()
        self.prepared.module.eval()
        facts = self.method.epoch_end(self.phase, position.phase_epochs + 1)
        self._close_epoch(facts)
        self._checkpoint()

    def _step(self, epoch: Epoch, step: int) -> None:
        """One optimizer step; everything random is drawn by (seed, step, process)."""
        setting, position, ranks = self.setting, self.position, self.setting.ranks
        seed = (self.recipe.seed * 1_000_003 + position.taken) * 1_009 + ranks.rank
        parts = setting.cut.parts_of(setting.train, epoch, step, ranks.rank)
        closure = BatchClosure(self.stepping, parts, seed % (1 << 63))
        self.method.gradients(closure)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = clip_grad_norm_(parameters, self.recipe.clip_norm or math.inf)
        if ranks.any(not bool(torch.isfinite(norm))):
            raise Diverged("a gradient is NaN or infinite")
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        assert closure.sums is not None
        position.step_taken(closure.sums)
        if setting.log is not None:
            loss, right = position.score.loss, position.score.accuracy
            text = f"epoch {position.epochs + 1} loss {loss:.4f} accuracy {100 * right:.2f} %"
            setting.log.reporter.step(text)

    def _close_epoch(self, facts: Mapping[str, Any]) -> None:
        """Evaluate, log, and keep the model where it is the best."""
        setting, position, score = self.setting, self.position, self.position.score
        line = {"epoch": position.epochs + 1, "phase": self.phase.name, "steps": position.taken}
        rate = self.optimizer.param_groups[0]["lr"]
        line |= {"rate": rate, "loss": score.loss, "accuracy": score.accuracy, **facts}
        if setting.validation is not None:
            found = evaluate(self.stepping, setting.validation, setting.cut.part)
            line |= {"validation_loss": found.loss, "validation_accuracy": found.accuracy}
            self._judge(found)
        if setting.log is not None:
            setting.log.epoch(line)
        position.epoch_ended()

    def _judge(self, score: Score) -> None:
        position = self.position
        better = position.best is None or score.beats(position.best.score)
        if self.phase.judged and better:
            position.best = Best(position.epochs + 1, score)
            self._save(BEST)

    def _checkpoint(self) -> None:
        """Write the state; parameters that are not finite are no state to go on from."""
        finite = all(bool(p.isfinite().all()) for p in self.prepared.module.parameters())
        if self.setting.ranks.any(not finite):
            raise Diverged("a parameter is NaN or infinite")
        state = {
            "module": self.prepared.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "method": self.method.state(),
        }
        if self.setting.ranks.first:
            checkpoint = Checkpoint(self.position, state)
            write_checkpoint(self.setting.output, self.setting.identity, checkpoint)

    def _save(self, name: str) -> None:
        """Write the prepared model into a folder of the run."""
        if self.setting.ranks.first:
            folder = self.setting.output / name
            with replacing_folder(folder, check_prepared_folder, "prepared model") as staging:
                save_prepared_model(self.prepared, staging)

    def _report(self) -> None:
        if self.setting.log is not None:
            epochs = sum(phase.epochs for phase in self.phases)
            total = epochs * self.setting.steps
            self.setting.log.reporter.begin(self.position.taken, total)


def learn_everything(prepared: PreparedModel, activations: bool, weights: bool) -> None:
    """Let every parameter of the network learn, and the scales that are asked for."""
    for parameter in prepared.module.parameters():
        parameter.requires_grad_(True)
    learn_scales(prepared, activations=activations, weights=weights)


def check_prepared_folder(folder: Path) -> None:
    """Refuse to replace something else than a prepared model.

    Raises:
        InputError: a file, or a folder without a prepared model.
    """
    if folder.exists() and not (folder / GRAPH_FILE).is_file():
        raise InputError(
            str(folder),
            "a prepared model takes the place of an older one and of nothing else",
            found="a file" if folder.is_file() else "a folder of something else",
            next_step="move it away, or choose another output folder",
        )
