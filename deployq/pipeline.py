"""The whole job, one step a function; the one module that may import every package.

capture -> prepare -> calibrate -> lower -> translate -> bundle -> verify
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, fx, nn

from deployq.arithmetic.contract import Contract
from deployq.bundle import (
    CANONICAL_FILE,
    Bundle,
    check_if_bundle,
    read_bundle,
    write_manifest,
    writing_bundle,
)
from deployq.bundle_contents import export_facts, write_golden, write_model
from deployq.data import Dataset, check_dataset
from deployq.edges import choose_edges, real_samples
from deployq.errors import InputError, UnsupportedError
from deployq.graph.capture import capture
from deployq.graph.captured_inputs import Examples
from deployq.graph.preparation import PreparedModel, prepare_graph
from deployq.graph.prepared_files import load_prepared_model, save_prepared_model
from deployq.graph.recipe import Recipe
from deployq.opened_file import open_file, open_memory, open_model
from deployq.packages import write_packages
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.edges import feed, with_ranges
from deployq.runtimes.source import make_source
from deployq.simulator import Simulation, run_graph
from deployq.simulator.recorded_sums import recorded_sums
from deployq.simulator.shapes import code_shapes
from deployq.verifier.evidence import GOLDEN_FILE, Evidence
from deployq.verifier.report import Limits, Report
from deployq.verifier.verification import verify_bundle
from deployq_calibration import calibrate_model
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.corrections import (
    Change,
    CorrectionSettings,
    check_corrections,
    correct_model,
)
from deployq_exporters.dialects import DIALECTS, translate
from deployq_exporters.edge_facts import edge_facts
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.vendor_files import VENDOR_FILES
from deployq_targets import TargetProfile, load_profile
from deployq_targets.checks import Finding, check_model
from deployq_targets.latency_model import ModelledLatency, model_latency
from deployq_targets.words import Edges

Target: TypeAlias = str | Path | TargetProfile
Advance: TypeAlias = Callable[[str], None]

GOLDEN_SAMPLES = 16
GOLDEN_CODES = 1 << 22
"""Of all golden samples: the vectors of a large network stay a file of a few megabytes."""
BATCH = 64
VENDOR_FILE = "vendor_file"
"""The fact of a manifest that names the file in the vendor's format, or says why it is missing."""


def prepare(
    model: nn.Module | fx.GraphModule,
    example_inputs: Examples,
    target: Target,
    recipe: Recipe | None = None,
) -> PreparedModel:
    """Capture a float network and place fake quantizers where the target's contract says.

    Args:
        model: an ``nn.Module``, or a graph from ``deployq.graph.capture``.
        example_inputs: one tensor an input, batch first, by position or by keyword.
        target: name of a builtin profile, path of a TOML file, or a profile.
        recipe: bit-widths; None takes the profile's.

    Returns:
        A prepared model: its ``module`` trains in torch, its ``plan`` says what was decided.

    Raises:
        InputError: the model cannot be traced.
        UnsupportedError: an operator cannot be carried to the target.
        ProfileError: a broken profile, or a width that it does not have.
    """
    captured = model if isinstance(model, fx.GraphModule) else capture(model, example_inputs)
    return prepare_graph(captured, as_profile(target), recipe)


def as_profile(target: Target) -> TargetProfile:
    """A profile from whatever names it."""
    return target if isinstance(target, TargetProfile) else load_profile(str(target))


def calibrate(
    prepared: PreparedModel,
    data: Dataset,
    settings: CalibrationSettings | None = None,
    *,
    progress: Advance = lambda stage: None,
    report: Callable[[tuple[Change, ...]], None] = lambda changes: None,
) -> PreparedModel:
    """Set every scale and zero point from ``data``, in place; returns the same model.

    Weights and biases change where a correction is asked for; ``report`` is told how. A tensor that
    is constantly zero over the data gets the smallest scale, and a warning, as do channels that
    are, and outliers that were set aside.

    Raises:
        InputError: an unknown observer or correction, or data that does not fit the model.
        QuantizationError: scales that the target's multiplier cannot express.
    """
    settings = settings or CalibrationSettings()
    check_corrections(settings.corrections)
    check_dataset(prepared.inputs, data, prepared.input_dtypes())

    def batches() -> Iterator[list[Tensor]]:
        for batch in data.batches(BATCH):
            yield [torch.from_numpy(np.array(batch.inputs[name])) for name in prepared.inputs]

    def set_scales() -> None:
        found = calibrate_model(
            prepared,
            batches,
            activations=settings.activations,
            weights=settings.weights,
            progress=progress,
        )
        for line in found.lines():
            warnings.warn(line, stacklevel=4)

    effort = CorrectionSettings(iterations=settings.iterations, seed=settings.seed)
    names = settings.corrections
    report(
        correct_model(
            prepared, batches, effort, names=names, calibrate=set_scales, progress=progress
        )
    )
    return prepared


def export(
    prepared: PreparedModel,
    path: Path,
    samples: Dataset,
    *,
    io: Edges | str | None = None,
    runtimes: str | None = None,
    facts: Mapping[str, object] | None = None,
    progress: Advance = lambda stage: None,
) -> Bundle:
    """Lower a calibrated model and write the bundle, all or nothing.

    The bundle holds ``model.onnx`` (canonical), ``model.<dialect>.onnx``, the file in the vendor's
    own format where the profile names one that deployq writes, the prepared model as the reference,
    ``golden.npz`` and ``manifest.json``, which states why a vendor's file was left out.

    Args:
        prepared: a calibrated or trained model.
        path: folder of the bundle; an older bundle there is replaced at the last moment.
        samples: the first ones become golden vectors.
        io: ``float`` or ``integer``: whether the files take and give reals, or codes where an input
            or output is on a grid; None takes the profile's.
        runtimes: whose files the bundle holds as well, with commas; ``all``: of every runtime that
            can say the network, and the manifest says why of the others.
        facts: further entries of the manifest.

    Raises:
        InputError: something else than a bundle is at ``path``, another process writes it, samples
            do not fit, a tensor is not calibrated, ``io`` is another word, or a named runtime is
            none, or its package is missing.
        UnsupportedError: an operator cannot be lowered, or a named runtime cannot say it.
    """
    check_dataset(prepared.inputs, samples, prepared.input_dtypes())
    profile, edges = prepared.profile, choose_edges(io, prepared.profile)
    with writing_bundle(Path(path)) as folder:
        progress("lower")
        model = to_proto(lower(prepared, profile, edges))
        files = {CANONICAL_FILE: model}
        for dialect in DIALECTS.values():
            progress("translate")
            files[dialect.file_name] = translate(model, dialect)
        for name, file in files.items():
            write_model(file, folder / name)
        save_prepared_model(prepared, folder)
        stored = read_graph(model, joins_sums=profile.graph.joins_sums)
        vendor = _write_vendor_file(model, stored, profile, folder)
        if runtimes is not None:
            vendor |= write_packages(make_source(model, stored, profile), runtimes, folder)
        progress("golden vectors")
        graph = with_ranges(stored, prepared.grids())
        write_golden(*run_first(graph, profile.contract(), samples), folder / GOLDEN_FILE)
        stated = {"io": str(edges), "edges": edge_facts(prepared, graph, files), **vendor}
        write_manifest(folder, {**export_facts(prepared, model), **stated, **(facts or {})})
    return read_bundle(Path(path))


def _write_vendor_file(
    model: onnx.ModelProto, graph: IntegerGraph, profile: TargetProfile, folder: Path
) -> dict[str, object]:
    """The file in the vendor's own format, where the profile names one that is written.

    A graph that the format cannot say, or a package that is missing, leaves it out with the reason:
    the ONNX files stand without it.

    Returns:
        Facts of the manifest: the file's name, and the reason where it was left out.
    """
    wanted = VENDOR_FILES.get(profile.container.vendor_format or "")
    if wanted is None:
        return {}
    shapes = code_shapes(model, graph)
    assert shapes is not None  # a canonical file leaves the batch free, and nothing else
    try:
        content = wanted.write(graph, shapes)
    except (UnsupportedError, InputError) as error:
        return {VENDOR_FILE: {"name": wanted.name, "left_out": error.as_dict()}}
    (folder / wanted.name).write_bytes(content)
    return {VENDOR_FILE: {"name": wanted.name, "left_out": None}}


def run_first(
    graph: IntegerGraph,
    contract: Contract,
    samples: Dataset,
    *,
    most: int = GOLDEN_SAMPLES,
    codes: int = GOLDEN_CODES,
) -> tuple[dict[str, npt.NDArray[Any]], Simulation]:
    """What the first samples feed and give.

    Args:
        most: of samples.
        codes: of all samples together: fewer samples where each makes many, at least one.
    """
    inputs = feed(graph, samples.take(1).inputs)
    simulation = run_graph(graph, contract, inputs)
    each = sum(tensor.numel() for tensor in simulation.codes.values())
    count = min(most, len(samples), codes // max(each, 1))
    if count <= 1:
        return inputs, simulation
    inputs = feed(graph, samples.take(count).inputs)
    return inputs, run_graph(graph, contract, inputs)


def simulate(
    source: Path | onnx.ModelProto,
    inputs: Mapping[str, npt.NDArray[Any]] | Dataset,
    target: Target | None = None,
    *,
    sums: bool = False,
) -> Simulation:
    """Run a QDQ or QOperator file bit for bit under a target's arithmetic.

    Args:
        source: a bundle, an ONNX file, or a model in memory.
        inputs: graph input name to array, (N, ...); for an input that takes codes, codes or
            float32, which is quantized by law 1. Of a data set its inputs.
        target: whose arithmetic; a bundle's own by default.
        sums: also return the integer accumulators of each layer.

    Raises:
        InputError: no target for a bare file, a missing input, or what is no code of its type.
        UnsupportedError: a node has no integer form; the message names it.
    """
    stated = None if target is None else as_profile(target)
    if isinstance(source, onnx.ModelProto):
        opened = open_memory(source, stated)
    else:
        opened = open_file(Path(source), target=stated)
    arrays = inputs.inputs if isinstance(inputs, Dataset) else inputs
    return simulate_graph(opened.graph, arrays, stated or opened.profile, sums=sums)


def simulate_graph(
    graph: IntegerGraph,
    inputs: Mapping[str, npt.NDArray[Any]],
    target: Target | None,
    *,
    sums: bool = False,
) -> Simulation:
    """As :func:`simulate`, of a file that was read before."""
    contract, fed = stated_profile(target).contract(), feed(graph, inputs)
    found = run_graph(graph, contract, fed)
    return replace(found, sums=recorded_sums(graph, contract, found.codes)) if sums else found


def stated_profile(target: Target | None) -> TargetProfile:
    """A profile from whatever names it, which something has to."""
    if target is None:
        raise InputError(
            "target",
            "a file says nothing of the arithmetic: name a target",
            found="none",
            next_step="--target ort-cpu, or the path of a profile",
        )
    return as_profile(target)


def check(source: Path | onnx.ModelProto, target: Target) -> tuple[Finding, ...]:
    """What in a file the target does not take, rule by rule; the file is read as it stands.

    Args:
        source: a QDQ or QOperator file of any tool, a bundle (its canonical file), or a model in
            memory.
        target: name of a builtin profile, path of a TOML file, or a profile.

    Raises:
        InputError: nothing there that can be read.
        UnsafeFileError: external data outside the file's folder.
        UnsupportedError: a node has neither an integer form nor a float one.
        ProfileError: a broken profile.
    """
    profile = as_profile(target)
    if isinstance(source, onnx.ModelProto):
        return check_model(source, profile)
    return check_model(open_model(Path(source)), profile)


def verify(
    bundle: Path | Evidence,
    data: Dataset,
    *,
    limits: Limits | None = None,
    latency_runs: int = 100,
    metric: str | None = None,
    progress: Advance = lambda stage: None,
) -> Report:
    """Hold a bundle against its reference: parity by law 12, accuracy, latency.

    Args:
        bundle: its folder, or one opened before.
        data: samples, with labels for accuracy; an input that the files take as codes may be given
            as codes.
        limits: how much evidence a verdict needs.
        latency_runs: of one sample each.
        metric: ``top-1``, ``auc``, ``perplexity``, ``output-difference`` or ``module:callable``;
            None is top-1 where the data has labels.

    Raises:
        InputError: the bundle is broken, or data or metric does not fit the model.
    """
    evidence = bundle if isinstance(bundle, Evidence) else Evidence(Path(bundle))
    prepared, data = evidence.prepared, real_samples(data, evidence.edges)
    check_dataset(prepared.inputs, data, prepared.input_dtypes())
    report = verify_bundle(
        evidence, data, limits=limits, latency_runs=latency_runs, metric=metric, progress=progress
    )
    return replace(report, modelled=modelled_latency(evidence))


def modelled_latency(evidence: Evidence) -> ModelledLatency | None:
    """What the target's profile says of a bundle's time; None where it states too little."""
    shapes = code_shapes(evidence.canonical, evidence.graph)
    if shapes is None:
        return None
    try:
        return model_latency(evidence.graph, shapes, evidence.prepared.profile)
    except InputError:  # the profile has no clock, or no rate for the widths of a layer
        return None


def save_prepared(prepared: PreparedModel, folder: Path) -> None:
    """Write the prepared model into ``folder``, made if missing: tensors, plan and graph, no code.

    Raises:
        UnsupportedError: the graph calls what a prepared model may not call.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_prepared_model(prepared, folder)


def load_prepared(folder: Path) -> PreparedModel:
    """Read a prepared model, from its folder or from a bundle, whose files are all checked.

    Runs no code.

    Raises:
        InputError: a file is missing or broken.
        UnsafeFileError: the graph calls what a prepared model may not call.
    """
    check_if_bundle(Path(folder))
    return load_prepared_model(Path(folder))
