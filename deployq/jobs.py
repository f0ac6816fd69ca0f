"""The jobs of the command line: from paths and flags to the public functions and back."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from deployq import pipeline
from deployq.bundle import MANIFEST, Bundle, check_replaceable, read_bundle
from deployq.bundle_contents import simulation_arrays
from deployq.columns import Columns
from deployq.data import Dataset
from deployq.edges import (
    choose_edges,
    edge_notes,
    image_inputs,
    pixel_facts,
    real_columns,
)
from deployq.errors import InputError
from deployq.file_samples import file_samples
from deployq.graph.captured_inputs import input_shapes
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import Recipe
from deployq.inspection.facts import Inspection
from deployq.inspection.reading import inspect_graph
from deployq.models import check_target, fit_samples, load_model
from deployq.opened_file import open_file
from deployq.packages import RUNTIMES
from deployq.progress import notice
from deployq.sensitivity import SENSITIVITY, measure_sensitivity, sensitivity_facts
from deployq.settings import parse_preprocessing
from deployq.simulator import Simulation
from deployq.simulator.shapes import code_shapes
from deployq.sources import DataRequest, Preprocessing, open_samples
from deployq.staging import check_place
from deployq.verifier.evidence import Evidence
from deployq.whole_file import whole_file
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.corrections import Change
from deployq_exporters.adapters import find_adapters
from deployq_targets.words import Edges

PREPROCESSING = "preprocessing"
"""The fact of a manifest that says how images become the model's input."""

FEW_SAMPLES = 32
"""Ranges and corrections of fewer say little of other samples."""


def prepare_model(
    reference: str,
    calib: DataRequest,
    target: str | None,
    recipe: Recipe,
    settings: CalibrationSettings | None,
    weights: Path | None = None,
    advance: pipeline.Advance = lambda stage: None,
    io: str | None = None,
) -> tuple[PreparedModel, Dataset, bool]:
    """Open and prepare what the user named.

    Args:
        reference: see :func:`deployq.models.load_model`.
        calib: calibration data, read in the shapes that the model takes.
        target: name or path of a profile; a prepared model's own if None.
        recipe, settings: what the user asked for; a prepared model takes nothing of it.
        weights: a checkpoint for ``package.module:callable``.
        io: ``integer`` pins the grids of image inputs to their pixels, where that is exact.

    Returns:
        The model, its data, and whether it still needs calibration.

    Raises:
        InputError: a model, data, checkpoint or option that does not fit.
    """
    profile = None if target is None else pipeline.as_profile(target)
    opened = cache(partial(open_samples, calib, advance))
    loaded = load_model(reference, opened, weights)
    for note in loaded.notes:
        notice(note)
    if loaded.prepared is None:
        assert loaded.captured is not None
        assert profile is not None  # the command asks for one
        if choose_edges(io, profile) is Edges.INTEGER:
            inputs = list(input_shapes(loaded.captured.graph))
            images = image_inputs(opened().columns, inputs, calib.preprocessing)
            recipe = replace(recipe, images=images)
        prepared = pipeline.prepare(loaded.captured, (), profile, recipe)
        return prepared, fit_samples(opened(), prepared), True
    prepared = loaded.prepared
    if profile is not None:
        check_target(prepared, profile)
    if recipe != Recipe() or settings is not None:
        raise InputError(
            reference,
            "a prepared model is exported as it is: its widths and scales stand",
            found="a width, --keep-float, observer or correction",
            allowed="none of them",
            next_step="leave them out, or prepare the float model again",
        )
    return prepared, fit_samples(opened(), prepared), False


def export_model(
    reference: str,
    calib: DataRequest,
    output: Path,
    target: str | None,
    recipe: Recipe,
    settings: CalibrationSettings | None,
    advance: pipeline.Advance,
    weights: Path | None = None,
    io: str | None = None,
    *,
    runtimes: str | None = None,
    sensitivity: bool = False,
) -> tuple[PreparedModel, Bundle]:
    """Prepare, calibrate where needed, export; a path that cannot be replaced is refused first.

    Args:
        runtimes: whose files the bundle holds as well; see :func:`deployq.pipeline.export`.
    """
    check_replaceable(output)
    check_place(output)
    if runtimes is not None:
        find_adapters(runtimes)
    prepared, data, fresh = prepare_model(
        reference, calib, target, recipe, settings, weights, advance, io
    )
    facts: dict[str, object] = {"calibration": "by the prepared model"}
    if fresh:
        settings = settings or CalibrationSettings()
        if sensitivity:  # of the weights as they came: corrected ones are codes already
            plain = replace(settings, corrections=())
            pipeline.calibrate(prepared, data, plain, progress=advance)
            found = measure_sensitivity(prepared, data, progress=advance)
            facts[SENSITIVITY] = sensitivity_facts(prepared, found)
        changes: list[Change] = []
        pipeline.calibrate(prepared, data, settings, progress=advance, report=changes.extend)
        facts["calibration"] = {**vars(settings), "samples": len(data)}
        facts["corrections"] = [change.to_json() for change in changes]
        if len(data) < FEW_SAMPLES:
            notice(f"calibrated on {len(data)} samples: others leave the ranges of so few")
    elif sensitivity:
        found = measure_sensitivity(prepared, data, progress=advance)
        facts[SENSITIVITY] = sensitivity_facts(prepared, found)
    images = image_inputs(Columns(data.inputs), list(prepared.inputs), calib.preprocessing)
    if images and calib.preprocessing is not None:
        facts[PREPROCESSING] = calib.preprocessing.facts()
    if choose_edges(io, prepared.profile) is Edges.INTEGER:
        facts["pixels"] = pixel_facts(prepared, images)
        for name, rule in pixel_facts(prepared, images).items() if not fresh else ():
            notice(f"{name}: {rule or 'pixels are not its codes: the scales of the model stand'}")
        if calib.preprocessing is not None and not images:
            notice("the calibration data are no images: [preprocessing] sets no input's grid")
    exported = pipeline.export(
        prepared, output, data, io=io, runtimes=runtimes, facts=facts, progress=advance
    )
    for line in left_out(exported):
        notice(line)
    return prepared, exported


def left_out(exported: Bundle) -> list[str]:
    """Why a bundle lacks a vendor's file, a runtime's, or a compiled one, a line each."""
    vendor: Any = exported.facts.get(pipeline.VENDOR_FILE)
    runtimes: Any = exported.facts.get(RUNTIMES, {})
    files = [] if vendor is None else [(vendor["name"], vendor["left_out"])]
    for entry in runtimes.values():
        own = [entry, entry["compiled"]] if "compiled" in entry else [entry]
        files += [(made["file"], made["left_out"]) for made in own]
    missing = {name: reason for name, reason in files if reason is not None}
    return [_missing_line(name, reason) for name, reason in missing.items()]


def _missing_line(name: str, reason: dict[str, str]) -> str:
    text = f"no {name}: {reason['where']}: {reason['rule']}: {reason['found']}"
    return f"{text}; {reason['next']}" if reason["next"] else text


def open_for_verification(
    bundle: Path, data: DataRequest, advance: pipeline.Advance = lambda stage: None
) -> tuple[Evidence, Dataset]:
    """A bundle and data in the shapes that its model takes."""
    evidence = Evidence(bundle)
    samples = open_samples(data, advance)
    for note in edge_notes(samples.columns, evidence.edges):
        notice(note)
    samples = replace(samples, columns=real_columns(samples.columns, evidence.edges))
    return evidence, fit_samples(samples, evidence.prepared)


def exported_preprocessing(bundle: Path) -> Preprocessing | None:
    """The preprocessing of images that the bundle was calibrated with, if any.

    Raises:
        InputError: no bundle, or a manifest that states nonsense.
    """
    stated = read_bundle(bundle).facts.get(PREPROCESSING)
    return None if stated is None else parse_preprocessing(f"{bundle.name}: {MANIFEST}", stated)


def simulate_file(source: Path, data: str, target: str | None, *, sums: bool = False) -> Simulation:
    """Run a bundle's file, or a bare one, on data in the shapes and types that it declares.

    An input that takes codes also takes float32, which is quantized by law 1, and says so. Images
    take the preprocessing that the bundle was calibrated with.
    """
    stated = None if target is None else pipeline.as_profile(target)
    opened = open_file(source, target=stated)
    images = None if opened.profile is None else exported_preprocessing(source)
    arrays = file_samples(opened, DataRequest(data, images)).inputs
    return pipeline.simulate_graph(opened.graph, arrays, stated or opened.profile, sums=sums)


def inspect_file(source: Path) -> Inspection:
    """What a bundle's canonical file, or a bare one, holds; the plan's floats where there is one.

    Raises:
        InputError, UnsafeFileError: nothing there that can be read.
        UnsupportedError: a node has no integer form; the message names it.
    """
    opened = open_file(source)
    plan, floats, sizes = None, None, []
    if opened.profile is None:
        sizes = [(source.name, source.stat().st_size)]
    else:
        prepared = pipeline.load_prepared(source)
        plan, floats = prepared.plan, prepared.floats
        sizes = [(file.path, file.size) for file in read_bundle(source).files]
    name, shapes = source.resolve().name, code_shapes(opened.model, opened.graph)
    return inspect_graph(opened.graph, shapes, source=name, plan=plan, floats=floats, files=sizes)


def save_simulation(simulation: Simulation, path: Path) -> None:
    """Write codes, sums and outputs, under ``codes/``, ``sums/`` and ``output/``, as ``.npz``.

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
    with whole_file(path, "file") as part:
        np.savez(part, allow_pickle=False, **simulation_arrays(simulation))
