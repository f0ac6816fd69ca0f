"""A recipe from start to end, or on from its checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from deployq.progress import Reporter, SilentReporter
from deployq.trainer.batch import Diverged
from deployq.trainer.batches import Cut, check_cut, check_cycles
from deployq.trainer.checkpoints import FOLDER, Checkpoint, check_network, read_checkpoint, readable
from deployq.trainer.contradictions import check_consistent
from deployq.trainer.identity import Identity
from deployq.trainer.kept_models import BEST, LAST
from deployq.trainer.loop import Loop
from deployq.trainer.losses import Criterion
from deployq.trainer.methods import Method, make_method
from deployq.trainer.opening import Opened, open_recipe
from deployq.trainer.position import Best, Position
from deployq.trainer.ranks import Ranks, joined_ranks
from deployq.trainer.recipe import TrainingRecipe, read_recipe, recipe_facts
from deployq.trainer.run_folder import check_fresh, make_folder
from deployq.trainer.run_log import METRICS_FILE, RunLog
from deployq.trainer.setting import Setting
from deployq.trainer.training_set import TrainingSet


@dataclass(frozen=True)
class TrainingResult:
    """What became of a run.

    Args:
        output: its folder; ``prepared`` in it is the model to export.
        first: whether this process is the one that prints and writes.
        epochs, steps: that were taken.
        best: the epoch that ``prepared`` is of; None where it is the last one's, or where none was
            written yet.
        diverged: why the run stopped early; None where it did not.
    """

    output: Path
    first: bool
    epochs: int
    steps: int
    best: Best | None
    diverged: str | None

    @property
    def exit_code(self) -> int:
        """1 where the run diverged."""
        return int(self.diverged is not None)

    def to_json(self) -> dict[str, Any]:
        """Facts; names of files are inside the output folder."""
        written = self.best is not None or self.diverged is None
        return {
            "epochs": self.epochs,
            "steps": self.steps,
            "prepared": BEST if written else None,
            "prepared_epoch": self.best.epoch if self.best else self.epochs if written else None,
            "validation": None if self.best is None else asdict(self.best.score),
            "last": None if self.diverged else LAST,
            "checkpoint": FOLDER,
            "metrics": METRICS_FILE,
            "diverged": self.diverged,
        }


def train_recipe(
    recipe: TrainingRecipe | Path,
    output: Path,
    *,
    resume: bool = False,
    tensorboard: Path | None = None,
    reporter: Reporter | None = None,
) -> TrainingResult:
    """Train what a recipe names, alone or as one of the processes that torchrun started.

    Writes into ``output``: ``prepared``, the model of the best validation epoch (of the last one
    where there are no validation data), which ``export`` takes as it is; ``last``; ``checkpoint``;
    ``metrics.jsonl``, a line an epoch.

    Args:
        recipe: or its TOML file.
        output: a folder without a run, or with ``resume`` that of the run to go on with.
        resume: go on from the checkpoint; on the CPU, with as many threads and processes, the
            result is that of an unbroken run to the last bit.
        tensorboard: folder for event files.
        reporter: progress for people.

    Raises:
        InputError: a recipe, model or data that does not fit, a run in ``output`` already, or with
            ``resume`` none, or one of another recipe, target or data.
        UnsafeFileError, UnsupportedError, ProfileError: as ``deployq.prepare``.
    """
    if isinstance(recipe, TrainingRecipe):
        check_consistent(recipe, "recipe")
    else:
        recipe = read_recipe(Path(recipe))
    output = Path(output)
    if not resume:
        check_fresh(output)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    with joined_ranks(recipe.device) as ranks:
        return _run(open_recipe(recipe), ranks, output, resume, tensorboard, reporter)


def _run(
    opened: Opened,
    ranks: Ranks,
    output: Path,
    resume: bool,
    tensorboard: Path | None,
    reporter: Reporter | None,
) -> TrainingResult:
    recipe = opened.recipe
    cut = Cut(recipe.batch_size, ranks.count, recipe.accumulate)
    method = make_method(recipe)
    check_cut(cut, len(opened.train), opened.prepared(method.phases()[0].stage))
    check_cycles(recipe, len(opened.train) // cut.size)
    identity = Identity(recipe_facts(recipe), opened.profile, len(opened.train))
    checkpoint = read_checkpoint(output, identity) if resume else None
    if checkpoint is not None:
        _check_resumable(output / FOLDER, checkpoint, opened, method)
    done = Position() if checkpoint is None else checkpoint.position
    log = None
    if ranks.first:
        make_folder(output)
        log = RunLog(output, done.lines, done.epochs, tensorboard, reporter or SilentReporter())
        for note in opened.notes if checkpoint is None else ():
            log.reporter.line(note)
    loop = Loop(
        Setting(opened, *_sets(opened), cut, ranks, identity, output, log),
        method,
        _criterion(opened, ranks),
    )
    diverged = None
    try:
        if checkpoint is None:
            loop.start()
        else:
            with readable(output / FOLDER):
                loop.resume(checkpoint)
        loop.run()
    except Diverged as reason:
        diverged = f"{reason} at step {loop.position.taken + 1}"
    finally:
        if log is not None:
            log.close()
    position = loop.position
    return TrainingResult(
        output, ranks.first, position.epochs, position.taken, position.best, diverged
    )


def _check_resumable(folder: Path, checkpoint: Checkpoint, opened: Opened, method: Method) -> None:
    with readable(folder):
        phase = method.phases()[checkpoint.position.phase]
        check_network(folder, checkpoint, opened.prepared(phase.stage))


def _sets(opened: Opened) -> tuple[TrainingSet, TrainingSet | None]:
    recipe = opened.recipe
    layout = recipe.preprocessing.layout if recipe.preprocessing else "nchw"
    sets = [
        data if data is None else TrainingSet(data, recipe.seed, recipe.augmentation, layout)
        for data in (opened.train, opened.validation)
    ]
    assert sets[0] is not None
    return sets[0], sets[1]


def _criterion(opened: Opened, ranks: Ranks) -> Criterion:
    recipe, teacher = opened.recipe, None
    if recipe.distillation is not None:
        teacher = opened.teacher().to(ranks.device)
    return Criterion(recipe.label_smoothing, recipe.distillation, teacher)
