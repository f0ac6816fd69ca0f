"""Keys of a recipe that are fine alone and mean nothing together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel

from deployq.errors import InputError

if TYPE_CHECKING:
    from deployq.trainer.recipe import TrainingRecipe
    from deployq.trainer.tables import SamTable

Fault = tuple[str, str, str, str]
"""Key, rule, found, next step."""

OF_KIND = {"momentum": "sgd", "nesterov": "sgd", "betas": "adamw"}
"""Keys of ``[optimizer]`` that only one kind has."""

OF_METHOD = ("saq", "sam", "sqwa")
"""Tables of the method that bears their name."""


def check_consistent(recipe: TrainingRecipe, where: str) -> None:
    """Refuse keys that contradict each other.

    Raises:
        InputError: the first contradiction.
    """
    for key, rule, found, step in _faults(recipe):
        raise InputError(f"{where}: {key}", rule, found=found, next_step=step)


def _faults(recipe: TrainingRecipe) -> Iterator[Fault]:
    yield from _method(recipe)
    yield from _between(recipe)
    yield from _optimizer(recipe)
    yield from _schedule(recipe)
    yield from _batches(recipe)
    yield from _stages(recipe)


def _stated(table: BaseModel, key: str) -> bool:
    """Whether a key says something else than its default."""
    return bool(getattr(table, key) != type(table).model_fields[key].default)


def _method(recipe: TrainingRecipe) -> Iterator[Fault]:
    for name in OF_METHOD:
        if recipe.method != name and name in recipe.model_fields_set:
            rule = f"[{name}] is the table of the method {name}"
            found = f"method = {recipe.method!r} with {_keys(recipe, name)}"
            yield name, rule, found, f"leave [{name}] out"
    if recipe.method == "sqwa" and _stated(recipe.schedule, "epochs"):
        rule = "the epochs of sqwa are those of its own table"
        found = f"epochs = {recipe.schedule.epochs}"
        yield "schedule.epochs", rule, found, "state sqwa.settle_epochs and the others"
    if recipe.method == "sqwa" and recipe.stages:
        rule = "sqwa trains at one width"
        yield "stages", rule, f"{len(recipe.stages)} stages", "leave them out"
    if recipe.distillation is not None and recipe.label_smoothing:
        rule = "the teacher's scores soften the labels already"
        found = f"label_smoothing = {recipe.label_smoothing} with [distillation]"
        yield "label_smoothing", rule, found, "leave one of them out"
    high, low = recipe.sqwa.high, recipe.sqwa.low
    if low is not None and low >= (high or recipe.optimizer.rate):
        rule = "a cycle falls from a high rate to a low one"
        found = f"low = {low}, high = {high or recipe.optimizer.rate}"
        yield "sqwa.low", rule, found, "state a lower rate"


def _keys(recipe: TrainingRecipe, name: str) -> str:
    """What a table of the recipe states, or the table where it states nothing."""
    table: BaseModel = getattr(recipe, name)
    stated = [key for key in type(table).model_fields if key in table.model_fields_set]
    return ", ".join(f"{name}.{key}" for key in stated) or f"[{name}]"


def _between(recipe: TrainingRecipe) -> Iterator[Fault]:
    if recipe.method not in ("saq", "sam"):
        return
    table: SamTable = getattr(recipe, recipe.method)
    if table.between != "plain" and table.every == 1:
        rule = "steps between full ones are there where every is 2 or more"
        found = f"between = {table.between!r} with {recipe.method}.every = 1"
        yield f"{recipe.method}.between", rule, found, "state every, or leave between out"
    if _stated(table, "look_rate") and table.between != "looksam":
        rule = "look_rate is a setting of looksam"
        found = f"look_rate = {table.look_rate} with between = {table.between!r}"
        yield f"{recipe.method}.look_rate", rule, found, "leave look_rate out"


def _optimizer(recipe: TrainingRecipe) -> Iterator[Fault]:
    table = recipe.optimizer
    for key, kind in OF_KIND.items():
        if _stated(table, key) and table.kind != kind:
            rule = f"{key} is a setting of {kind}"
            yield f"optimizer.{key}", rule, f"kind = {table.kind!r}", f"leave {key} out"
    if table.kind == "sgd" and table.nesterov and not table.momentum:
        rule = "Nesterov's step needs momentum"
        yield "optimizer.nesterov", rule, "momentum = 0", "state nesterov = false"


def _schedule(recipe: TrainingRecipe) -> Iterator[Fault]:
    table = recipe.schedule
    epochs = recipe.sqwa.settle_epochs if recipe.method == "sqwa" else table.epochs
    for key in ("milestones", "factor"):
        if _stated(table, key) and table.kind != "step":
            rule = f"{key} is a setting of the kind step"
            yield f"schedule.{key}", rule, f"kind = {table.kind!r}", f"leave {key} out"
    if table.kind == "step" and not table.milestones:
        rule = "a step schedule has milestones"
        yield "schedule.milestones", rule, "none", "state milestones, or another kind"
    late = [epoch for epoch in table.milestones if epoch >= epochs]
    if late or list(table.milestones) != sorted(set(table.milestones)):
        rule = "milestones rise and lie inside the epochs"
        found = f"{list(table.milestones)} of {epochs} epochs"
        yield "schedule.milestones", rule, found, "correct milestones"
    if table.warmup_epochs >= epochs and table.warmup_epochs:
        rule = "the rate rises in fewer epochs than there are"
        found = f"{table.warmup_epochs} of {epochs}"
        yield "schedule.warmup_epochs", rule, found, "state fewer, or more epochs"


def _batches(recipe: TrainingRecipe) -> Iterator[Fault]:
    if recipe.batch_size % recipe.accumulate:
        rule = "a batch is cut into parts of one size"
        found = f"{recipe.batch_size} samples in {recipe.accumulate} parts"
        yield "accumulate", rule, found, "make batch_size a multiple of accumulate"
    labels = ("train_labels", "train"), ("validation_labels", "validation")
    for key, data in labels:
        if getattr(recipe.data, key) is not None and getattr(recipe.data, data) is None:
            yield f"data.{key}", f"these are the labels of data.{data}", "no such data", "state it"
    if (
        recipe.data.calibration is not None
        and "calibration_samples" in recipe.data.model_fields_set
    ):
        rule = "calibration_samples is a share of the training data"
        found = "data.calibration as well"
        yield "data.calibration_samples", rule, found, "leave one of them out"


def _stages(recipe: TrainingRecipe) -> Iterator[Fault]:
    for index, stage in enumerate(recipe.stages):
        if stage.weight_bits is None and stage.activation_bits is None:
            rule = "a stage has widths of its own"
            yield f"stages[{index}]", rule, "neither weight_bits nor activation_bits", "state one"
