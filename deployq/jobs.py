"""The jobs of the command line: from paths and flags to the public functions and back."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from deployq import pipeline
from deployq.bundle import MANIFEST, Bundle, check_replaceable, read_bundle
from deployq.columns import LazyColumn
from deployq.data import Dataset, load_dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import Recipe
from deployq.models import load_model
from deployq.progress import notice
from deployq.sensitivity import SENSITIVITY, measure_sensitivity, sensitivity_facts
from deployq.settings import parse_preprocessing
from deployq.simulator import Simulation
from deployq.sources import DataRequest, Preprocessing, Samples, open_samples
from deployq.verifier.evidence import Evidence

PREPROCESSING = "preprocessing"
"""The fact of a manifest that says how images become the model's input."""


def prepare_model(
    reference: str,
    calib: DataRequest,
    target: str,
    recipe: Recipe,
    settings: pipeline.CalibrationSettings | None,
    weights: Path | None = None,
    advance: pipeline.Advance = lambda stage: None,
) -> tuple[PreparedModel, Dataset, bool]:
    """Open and prepare what the user named.

    Args:
        reference: see :func:`deployq.models.load_model`.
        calib: calibration data, read in the shapes that the model takes.
        target: name or path of a profile.
        recipe, settings: what the user asked for; a prepared model takes nothing of it.
        weights: a checkpoint for ``package.module:callable``.

    Returns:
        The model, its data, and whether it still needs calibration.

    Raises:
        InputError: a model, data, checkpoint or option that does not fit.
    """
    profile = pipeline.as_profile(target)
    opened = cache(partial(open_samples, calib, advance))
    loaded = load_model(reference, opened, weights)
    for note in loaded.notes:
        notice(note)
    if loaded.prepared is None:
        assert loaded.captured is not None
        prepared = pipeline.prepare(loaded.captured, (), profile, recipe)
        return prepared, fit_samples(opened(), prepared), True
    prepared = loaded.prepared
    if prepared.profile != profile:
        raise InputError(
            "--target",
            "a prepared model is exported to the target it was prepared for",
            found=profile.name,
            allowed=prepared.profile.name,
            next_step="prepare the float model again for the other target",
        )
    if recipe != Recipe() or settings is not None:
        raise InputError(
            reference,
            "a prepared model is exported as it is: its widths and scales stand",
            found="a width, --keep-float, --observer or --weight-observer",
            allowed="none of them",
            next_step="leave them out, or prepare the float model again",
        )
    return prepared, fit_samples(opened(), prepared), False


def export_model(
    reference: str,
    calib: DataRequest,
    output: Path,
    target: str,
    recipe: Recipe,
    settings: pipeline.CalibrationSettings | None,
    advance: pipeline.Advance,
    weights: Path | None = None,
    *,
    sensitivity: bool = False,
) -> tuple[PreparedModel, Bundle]:
    """Prepare, calibrate where needed, export; a path that cannot be replaced is refused first."""
    check_replaceable(output)
    prepared, data, fresh = prepare_model(
        reference, calib, target, recipe, settings, weights, advance
    )
    facts: dict[str, object] = {"calibration": "by the prepared model"}
    if fresh:
        settings = settings or pipeline.CalibrationSettings()
        pipeline.calibrate(prepared, data, settings, progress=advance)
        facts = {"calibration": {**vars(settings), "samples": len(data)}}
    if sensitivity:
        found = measure_sensitivity(prepared, data, progress=advance)
        facts[SENSITIVITY] = sensitivity_facts(prepared, found)
    if calib.preprocessing is not None and any(
        isinstance(column, LazyColumn) for column in data.columns.values()
    ):
        facts[PREPROCESSING] = calib.preprocessing.facts()
    return prepared, pipeline.export(prepared, output, data, facts=facts, progress=advance)


def open_for_verification(
    bundle: Path, data: DataRequest, advance: pipeline.Advance = lambda stage: None
) -> tuple[Evidence, Dataset]:
    """A bundle and data in the shapes that its model takes."""
    evidence = Evidence(bundle)
    return evidence, fit_samples(open_samples(data, advance), evidence.prepared)


def exported_preprocessing(bundle: Path) -> Preprocessing | None:
    """The preprocessing of images that the bundle was calibrated with, if any.

    Raises:
        InputError: no bundle, or a manifest that states nonsense.
    """
    stated = read_bundle(bundle).facts.get(PREPROCESSING)
    return None if stated is None else parse_preprocessing(f"{bundle.name}: {MANIFEST}", stated)


def fit_samples(samples: Samples, prepared: PreparedModel) -> Dataset:
    """Arrays of the shapes and types that a model takes (batch first and free)."""
    shapes = {name: [None, *shape[1:]] for name, shape in prepared.inputs.items()}
    return samples.dataset(shapes, prepared.input_dtypes())


def simulate_file(source: Path, data: Path, target: str | None) -> Simulation:
    """Run a bundle's file, or a bare one, on data in the shapes and types that it declares."""
    model, own = pipeline.open_file(source)
    constants = {tensor.name for tensor in model.graph.initializer}
    declared = [value for value in model.graph.input if value.name not in constants]
    shapes = {value.name: _declared_shape(value) for value in declared}
    dtypes = {value.name: _declared_dtype(value) for value in declared}
    arrays = load_dataset(data, list(shapes), input_shapes=shapes, input_dtypes=dtypes).inputs
    return pipeline.simulate(model, arrays, own if target is None else target)


def _declared_shape(value: onnx.ValueInfoProto) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [None, *(dim.dim_value or None for dim in list(dims)[1:])]


def _declared_dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def save_simulation(simulation: Simulation, path: Path) -> None:
    """Write every code tensor and the outputs, under ``codes/`` and ``output/``, as ``.npz``.

    Raises:
        InputError: another suffix, or a path that cannot be written.
    """
    if path.suffix != ".npz":
        raise InputError(
            str(path),
            "codes are written as .npz",
            found=path.suffix or "no suffix",
            allowed=".npz",
            next_step=f"--output {path.with_suffix('.npz')}",
        )
    try:
        np.savez(path, allow_pickle=False, **pipeline.simulation_arrays(simulation))
    except OSError as error:
        raise InputError(
            str(path),
            "the file must be writable",
            found=error.strerror or str(error),
            next_step="name a folder that exists and is yours",
        ) from error
