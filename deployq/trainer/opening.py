"""What a recipe names, opened and held to it before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from deployq import pipeline
from deployq.columns import Columns
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel, disable_quantizers
from deployq.models import check_target, fit_samples, load_model
from deployq.sources import DataRequest, open_samples
from deployq.train import initialise_scales
from deployq.trainer.recipe import TrainingRecipe
from deployq.trainer.tables import StageTable
from deployq.trainer.training_set import check_labels
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_targets import TargetProfile

_OF_PREPARATION = ("weight_bits", "activation_bits", "first_bits", "last_bits", "layers", "stages")


@dataclass(frozen=True, eq=False)
class Opened:
    """A recipe's model and data.

    Args:
        recipe: that named them.
        profile: the target.
        captured: the float network, where the model is one.
        stored: the prepared model, where the model is one.
        train, validation: with labels of classes that the model has scores for.
        calibration: sets the first scales.
        notes: what was done to the weights on the way, one sentence each.
    """

    recipe: TrainingRecipe
    profile: TargetProfile
    captured: fx.GraphModule | None
    stored: PreparedModel | None
    train: Dataset
    validation: Dataset | None
    calibration: Dataset
    notes: tuple[str, ...]

    def prepared(self, stage: StageTable | None) -> PreparedModel:
        """A prepared model of its own at the widths of a stage; a float one is not calibrated.

        Statistics that rested where a stored one was trained learn again.
        """
        if self.captured is None:
            assert self.stored is not None
            found = copy.deepcopy(self.stored)
            for unit in found.units().values():  # the recipe says when statistics rest
                unit.frozen_statistics = False
            return found
        return pipeline.prepare(self.captured, (), self.profile, self.recipe.widths(stage))

    def calibrate(self, prepared: PreparedModel) -> None:
        """Choose scales from the calibration data, where a scale is not chosen yet."""
        if _is_calibrated(prepared):
            return
        table = self.recipe.calibration
        settings = CalibrationSettings(table.observer, table.weight_observer, corrections=())
        pipeline.calibrate(prepared, self.calibration, settings)
        if self.recipe.scales.start == "lsq":
            first = next(self.calibration.batches(self.recipe.batch_size)).inputs
            initialise_scales(prepared, batch=[torch.from_numpy(first[n]) for n in prepared.inputs])

    def teacher(self) -> nn.Module:
        """The float model, in evaluation mode: of a prepared model, itself in float."""
        if self.captured is not None:
            return copy.deepcopy(self.captured).eval().requires_grad_(False)
        module = self.prepared(None).module.eval().requires_grad_(False)
        disable_quantizers(module)
        return module


def quantizers(prepared: PreparedModel) -> list[FakeQuantize]:
    """Of activations and weights."""
    return [m for m in prepared.module.modules() if isinstance(m, FakeQuantize)]


def open_recipe(recipe: TrainingRecipe) -> Opened:
    """Open model, target and data.

    Raises:
        InputError: a model or data that cannot be opened or do not fit, a model with nothing to
            quantize, labels that are missing or out of range.
        UnsafeFileError, UnsupportedError, ProfileError: as ``pipeline.prepare`` and ``load_model``.
    """
    data, profile = recipe.data, pipeline.as_profile(recipe.target)
    request = partial(_request, recipe)
    samples = cache(partial(open_samples, request(data.train, data.train_labels)))
    weights = None if recipe.weights is None else Path(recipe.weights)
    loaded = load_model(recipe.model, samples, weights)
    stored = loaded.prepared
    if stored is not None:
        _check_stored(stored, profile, recipe)
        prepared = stored
    else:
        assert loaded.captured is not None
        prepared = pipeline.prepare(loaded.captured, (), profile, recipe.widths())
    _check_something_to_quantize(recipe.model, prepared)
    train, validation = fit_samples(samples(), prepared), None
    classes = _classes(recipe.model, prepared, train)
    check_labels(data.train, train, classes)
    if data.validation is not None:
        opened = open_samples(request(data.validation, data.validation_labels))
        validation = fit_samples(opened, prepared)
        check_labels(data.validation, validation, classes)
    if data.calibration is None:
        calibration = _drawn(train, data.calibration_samples, recipe.seed)
    else:
        calibration = fit_samples(open_samples(request(data.calibration, None)), prepared)
    return Opened(
        recipe, profile, loaded.captured, stored, train, validation, calibration, loaded.notes
    )


def _request(recipe: TrainingRecipe, reference: str, labels: str | None) -> DataRequest:
    return DataRequest(reference, recipe.preprocessing, None if labels is None else Path(labels))


def _drawn(train: Dataset, count: int, seed: int) -> Dataset:
    """Some training samples, in their own order."""
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.permutation(len(train))[:count])
    return Dataset(Columns(train.inputs).pick(rows))


def _check_stored(prepared: PreparedModel, profile: TargetProfile, recipe: TrainingRecipe) -> None:
    check_target(prepared, profile)
    stated = [key for key in _OF_PREPARATION if key in recipe.model_fields_set]
    if stated:
        raise InputError(
            recipe.model,
            "a prepared model is trained at the widths that it has",
            found=", ".join(stated),
            allowed="none of them",
            next_step="leave them out, or name the float model",
        )
    ignored = [*_of_calibration(recipe)] if _is_calibrated(prepared) else []
    if ignored:
        raise InputError(
            recipe.model,
            "a calibrated model is trained from the scales that it has",
            found=", ".join(ignored),
            allowed="none of them",
            next_step="leave them out, or name the float model",
        )


def _of_calibration(recipe: TrainingRecipe) -> Iterator[str]:
    """Keys that a recipe states and that decide first scales alone."""
    yield from (f"calibration.{key}" for key in sorted(recipe.calibration.model_fields_set))
    for key in ("calibration", "calibration_samples"):
        if key in recipe.data.model_fields_set:
            yield f"data.{key}"
    if recipe.scales.start == "lsq":
        yield "scales.start"


def _is_calibrated(prepared: PreparedModel) -> bool:
    return all(quantizer.calibrated for quantizer in quantizers(prepared))


def _check_something_to_quantize(reference: str, prepared: PreparedModel) -> None:
    if not prepared.plan.layers:
        raise InputError(
            reference,
            "quantization-aware training needs a layer whose weights are quantized",
            found="; ".join(prepared.plan.floats) or "no convolution and no fully connected layer",
            next_step="take keep_float back, or name another model or target",
        )


def _classes(reference: str, prepared: PreparedModel, data: Dataset) -> int:
    """How many scores the first output has."""
    few = data.take(min(2, len(data))).inputs
    inputs: list[Tensor] = [torch.from_numpy(np.array(few[name])) for name in prepared.inputs]
    with evaluation_mode(prepared.module), torch.no_grad():
        output = pytree.tree_leaves(prepared.module(*inputs))[0]
    if output.ndim != 2 or output.shape[1] < 2:
        raise InputError(
            reference,
            "the recipe trains the scores of classes, the model's first output",
            found=f"an output of shape {('N', *output.shape[1:])}",
            allowed="(N, classes), two or more",
            next_step="write a loop of your own around prepared.module",
        )
    return int(output.shape[1])
