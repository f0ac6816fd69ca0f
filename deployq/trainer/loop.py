"""The loop: phases of epochs of optimizer steps, a checkpoint between any two of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from deployq.graph.preparation import PreparedModel
from deployq.graph.scales.lattice import has_weight_lattice
from deployq.train import AccumulatorLimit, carry_weights, learn_scales, settle_scales
from deployq.trainer.batch import BatchClosure, Diverged, Stepping
from deployq.trainer.checkpoints import Checkpoint, write_checkpoint
from deployq.trainer.evaluating import evaluate
from deployq.trainer.kept_models import BEST, LAST, keep_model
from deployq.trainer.losses import Criterion
from deployq.trainer.methods import Method, Phase
from deployq.trainer.opening import quantizers
from deployq.trainer.optimizing import make_optimizer
from deployq.trainer.position import Best, Position, Score
from deployq.trainer.setting import Setting
from deployq.trainer.training_set import Epoch
from deployq.trainer.what_learns import learn_everything, limits_sums


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
        place, rest = (self.position.phase_epochs, self.position.steps), self._rest
        if rest is not None and place > (rest, 0):
            learn_scales(self.prepared, activations=False, weights=False)
            self._share()
        self.prepared.module.load_state_dict(checkpoint.state["module"])
        self.optimizer.load_state_dict(checkpoint.state["optimizer"])
        self.schedule.load_state_dict(checkpoint.state["schedule"])
        states, rank = checkpoint.state["method"], self.setting.ranks.rank
        self.method.load_state(states[rank % len(states)])

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
        """Begin a phase with its own model; its checkpoint is the first thing written."""
        setting = self.setting
        prepared.module.to(setting.ranks.device)
        torch.manual_seed(self._seed)  # of Dropout, while statistics are measured
        self.prepared = self.method.enter(self.phase, prepared, self._statistics_batches)
        self._keep_aside()
        self._begin()
        if self.limit is not None:
            self.limit.project()
        if self.phase.averaged and setting.validation is not None:
            self._log({"phase": f"{self.phase.name}, before"}, judged=self._deployable)
        self._checkpoint()

    def _keep_aside(self) -> None:
        """Write the models that the method made on the way, and how good they are."""
        for name, prepared in self.method.aside.items():
            prepared.module.to(self.setting.ranks.device)
            self._save(name, prepared)
            if self.setting.validation is not None:
                self._share(prepared)
                self._log({"phase": name}, judged=False)
        self.method.aside = {}

    def _statistics_batches(self) -> Iterator[list[Tensor]]:
        setting = self.setting
        epoch = setting.train.epoch(self.position.epochs)
        for inputs in setting.cut.inputs(setting.train, epoch):
            yield [x.to(setting.ranks.device) for x in inputs]

    def _begin(self) -> None:
        """Optimizer, schedule and method of a phase around its model."""
        recipe, module = self.recipe, self.prepared.module
        module.to(self.setting.ranks.device)
        scales = recipe.scales
        learn_everything(
            self.prepared, scales.activations, scales.weights and self.phase.learns_steps
        )
        self.optimizer = make_optimizer(
            self.prepared, recipe.optimizer, recipe.scales, self.phase.rate
        )
        self.schedule = self.method.schedule(self.phase, self.optimizer, self.setting.steps)
        self.method.begin(self.phase, self.prepared, self.optimizer)
        self._share()
        self.limit = AccumulatorLimit(self.prepared) if limits_sums(recipe, self.prepared) else None

    def _share(self, prepared: PreparedModel | None = None) -> None:
        """Once more whenever other parameters learn: processes exchange the gradients of each.

        Args:
            prepared: the model of the phase, or another one to evaluate.
        """
        module, ranks = (prepared or self.prepared).module, self.setting.ranks
        network: Any = torch.compile(module) if self.recipe.compile else module
        bfloat16 = self.recipe.amp == "bfloat16"
        shared = ranks.shared(network)
        self.stepping = Stepping(network, shared, self.criterion, ranks, bfloat16)

    def _carried(self) -> PreparedModel:
        """The model of the next phase with what this one learned."""
        if self.phase.stage == self.phases[self.position.phase - 1].stage:
            return self.prepared
        prepared = self.setting.opened.prepared(self.phase.stage)
        carry_weights(self.prepared, prepared)
        return prepared

    @property
    def _rest(self) -> int | None:
        """Epoch of this phase from which scales rest on a lattice; None where they never do."""
        epochs, last = self.recipe.scales.settle_epochs, self.position.phase + 1 == len(self.phases)
        if not (epochs and last and has_weight_lattice(self.prepared.profile)):
            return None
        return max(self.phase.epochs - epochs, 0)

    @property
    def _deployable(self) -> bool:
        """Whether the scales are those of the target: they rest, or need not."""
        rest, lattice = self._rest, has_weight_lattice(self.prepared.profile)
        asked = bool(self.recipe.scales.settle_epochs) and lattice
        return not asked or (rest is not None and self.position.phase_epochs >= rest)

    def _epoch(self) -> None:
        setting, position = self.setting, self.position
        epoch = setting.train.epoch(position.epochs)
        self._settle()
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

    def _settle(self) -> None:
        """What stands still in the last epochs: statistics of BatchNorms, and scales.

        Scales come to rest at the start of an epoch; in a resumed run they do already.
        """
        position = self.position
        last = position.phase + 1 == len(self.phases)
        if last and position.phase_epochs >= self.phase.epochs - self.recipe.norms.frozen_epochs:
            for unit in self.prepared.units().values():
                unit.frozen_statistics = True
        if position.phase_epochs == self._rest and not position.steps:
            settle_scales(self.prepared)
            self._share()

    @property
    def _seed(self) -> int:
        """Of the step at hand in this process."""
        drawn = (self.recipe.seed * 1_000_003 + self.position.taken) * 1_009
        return (drawn + self.setting.ranks.rank) % (1 << 63)

    def _step(self, epoch: Epoch, step: int) -> None:
        """One optimizer step; everything random is drawn by (seed, step, process)."""
        setting, position, ranks = self.setting, self.position, self.setting.ranks
        parts = setting.cut.parts_of(setting.train, epoch, step, ranks.rank)
        closure = BatchClosure(self.stepping, parts, self._seed)
        self.method.gradients(closure)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = clip_grad_norm_(parameters, self.recipe.clip_norm or math.inf)
        if ranks.any(not bool(torch.isfinite(norm))):
            raise Diverged("a gradient is NaN or infinite")
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.limit is not None:
            self._check_finite()
            self.limit.project()
        self.schedule.step()
        assert closure.sums is not None
        position.step_taken(closure.sums)
        if setting.log is not None:
            loss, right = position.score.loss, position.score.accuracy
            text = f"epoch {position.epochs + 1} loss {loss:.4f} accuracy {100 * right:.2f} %"
            setting.log.reporter.step(text)

    def _close_epoch(self, facts: Mapping[str, Any]) -> None:
        """Count, evaluate, log, and keep the model where it is the best."""
        self._check_finite()
        score = self.position.score
        deployable = self._deployable
        self.position.epoch_ended()
        rate = self.optimizer.param_groups[0]["lr"]
        seen = {"phase": self.phase.name, "rate": rate, "loss": score.loss}
        self._log({**seen, "accuracy": score.accuracy, **facts}, judged=deployable)

    def _log(self, facts: Mapping[str, Any], *, judged: bool) -> None:
        """Evaluate the model as it is, and write a line."""
        setting, position = self.setting, self.position
        line = {"epoch": position.epochs, "steps": position.taken, **facts}
        if setting.validation is not None:
            found = evaluate(self.stepping, setting.validation, setting.cut.part)
            if not math.isfinite(found.loss):
                raise Diverged("the validation loss is NaN or infinite")
            line |= {"validation_loss": found.loss, "validation_accuracy": found.accuracy}
            if self.phase.judged and judged:
                self._judge(found)
        if setting.log is not None:
            setting.log.epoch(line)
        position.lines += 1

    def _judge(self, score: Score) -> None:
        position = self.position
        if position.best is None or score.beats(position.best.score):
            position.best = Best(position.epochs, score)
            self._save(BEST)

    def _checkpoint(self) -> None:
        """Write the state; parameters that are not finite are no state to go on from."""
        self._check_finite()
        own = self.method.state()
        state = {
            "module": self.prepared.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "method": self.setting.ranks.gathered(own) if self.method.apart else [own],
        }
        if self.setting.ranks.first:
            checkpoint = Checkpoint(self.position, state)
            write_checkpoint(self.setting.output, self.setting.identity, checkpoint)

    def _check_finite(self) -> None:
        finite = all(bool(p.isfinite().all()) for p in self.prepared.module.parameters())
        if self.setting.ranks.any(not finite):
            raise Diverged("a parameter is NaN or infinite")

    def _save(self, name: str, prepared: PreparedModel | None = None) -> None:
        """Write the prepared model, or another one, into a folder of the run."""
        if self.setting.ranks.first:
            keep_model(prepared or self.prepared, self.setting.output / name)

    def _report(self) -> None:
        if self.setting.log is not None:
            epochs = sum(phase.epochs for phase in self.phases)
            total = epochs * self.setting.steps
            self.setting.log.reporter.begin(self.position.taken, total)
