"""The whole job, one step a function; the one module that may import every package.

capture -> prepare -> calibrate -> lower -> translate -> bundle -> verify
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, fx, nn

from deployq.bundle import Bundle, environment_facts, read_bundle, write_manifest, writing_bundle
from deployq.data import Dataset, load_dataset
from deployq.errors import InputError
from deployq.graph.capture import capture
from deployq.graph.onnx_guard import load_onnx
from deployq.graph.preparation import PreparedModel, prepare_graph
from deployq.graph.prepared_files import load_prepared_model, save_prepared_model
from deployq.graph.recipe import Recipe
from deployq.models import LoadedModel, load_model
from deployq.qgraph import read_graph
from deployq.simulator import Simulation, run_graph
from deployq.verifier.report import Limits, Report
from deployq.verifier.verification import CANONICAL_FILE, verify_bundle
from deployq_calibration import calibrate_model
from deployq_exporters.dialects import DIALECTS, translate
from deployq_exporters.lowering import lower, to_proto
from deployq_targets import TargetProfile, load_profile

Target: TypeAlias = str | Path | TargetProfile
Advance: TypeAlias = Callable[[str], None]

GOLDEN_FILE = "golden.npz"
GOLDEN_SAMPLES = 16
BATCH = 64


def prepare(
    model: nn.Module | fx.GraphModule,
    example_inputs: Sequence[Tensor],
    target: Target,
    recipe: Recipe | None = None,
) -> PreparedModel:
    """Capture a float network and place fake quantizers where the target's contract says.

    Args:
        model: an ``nn.Module``, or a graph from ``deployq.graph.capture``.
        example_inputs: one tensor an input, batch first.
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


def open_model(reference: str, data: Path) -> LoadedModel:
    """Open a model that the user named; see :func:`deployq.models.load_model`."""
    return load_model(reference, data)


def prepare_loaded(
    loaded: LoadedModel, data: Path, target: Target, recipe: Recipe | None = None
) -> tuple[PreparedModel, Dataset]:
    """Prepare an opened model, and read its calibration data in the shapes it takes.

    Raises:
        InputError: a prepared model made for another target, or data that does not fit.
    """
    if loaded.prepared is None:
        assert loaded.captured is not None
        prepared = prepare(loaded.captured, (), target, recipe)
    else:
        prepared, wanted = loaded.prepared, as_profile(target)
        if prepared.profile != wanted:
            raise InputError(
                "--target",
                "a prepared model is exported to the target it was prepared for",
                found=wanted.name,
                allowed=prepared.profile.name,
                next_step="prepare the float model again for the other target",
            )
    return prepared, read_dataset(data, prepared.inputs)


def read_dataset(path: Path, inputs: Mapping[str, tuple[int, ...]]) -> Dataset:
    """An ``.npz`` whose arrays have the shapes that a model takes (batch first and free)."""
    shapes = {name: [None, *shape[1:]] for name, shape in inputs.items()}
    return load_dataset(path, list(inputs), input_shapes=shapes)


def as_profile(target: Target) -> TargetProfile:
    """A profile from whatever names it."""
    return target if isinstance(target, TargetProfile) else load_profile(str(target))


@dataclass(frozen=True)
class CalibrationSettings:
    """How scales are chosen: ``minmax`` or ``mse`` for each kind of tensor."""

    activations: str = "mse"
    weights: str = "mse"


def calibrate(
    prepared: PreparedModel,
    data: Dataset,
    settings: CalibrationSettings | None = None,
    *,
    progress: Advance = lambda stage: None,
) -> PreparedModel:
    """Set every scale and zero point from ``data``, in place; returns the same model.

    Raises:
        InputError: an unknown observer.
    """
    settings = settings or CalibrationSettings()

    def batches() -> Iterator[list[Tensor]]:
        for batch in data.batches(BATCH):
            yield [torch.from_numpy(np.array(batch.inputs[name])) for name in prepared.inputs]

    calibrate_model(
        prepared, batches, activations=settings.activations, weights=settings.weights,
        progress=progress,
    )  # fmt: skip
    return prepared


def export(
    prepared: PreparedModel,
    path: Path,
    samples: Dataset,
    *,
    facts: Mapping[str, object] | None = None,
    progress: Advance = lambda stage: None,
) -> Bundle:
    """Lower a calibrated model and write the bundle, all or nothing.

    The bundle holds ``model.onnx`` (canonical), ``model.<dialect>.onnx``, the prepared model as the
    reference, ``golden.npz`` and ``manifest.json``.

    Args:
        prepared: a calibrated or trained model.
        path: folder of the bundle; an older bundle there is replaced at the last moment.
        samples: the first ones become golden vectors.
        facts: further entries of the manifest.

    Raises:
        InputError: something else than a bundle is at ``path``, or another export writes it.
        UnsupportedError: an operator cannot be lowered.
    """
    profile = prepared.profile
    with writing_bundle(Path(path)) as folder:
        progress("lower")
        model = to_proto(lower(prepared, profile))
        _write_model(model, folder / CANONICAL_FILE)
        for dialect in DIALECTS.values():
            progress("translate")
            _write_model(translate(model, dialect), folder / dialect.file_name)
        save_prepared_model(prepared, folder)
        progress("golden vectors")
        golden = samples.take(min(GOLDEN_SAMPLES, len(samples)))
        simulation = run_graph(read_graph(model), profile.contract(), golden.inputs)
        _write_golden(golden, simulation, folder / GOLDEN_FILE)
        write_manifest(folder, {**_facts(prepared, model), **(facts or {})})
    return read_bundle(Path(path))


def _write_model(model: onnx.ModelProto, path: Path) -> None:
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _write_golden(samples: Dataset, simulation: Simulation, path: Path) -> None:
    """Inputs, every code tensor and the outputs, under ``input/``, ``codes/`` and ``output/``."""
    inputs = {f"input/{name}": array for name, array in samples.inputs.items()}
    np.savez(path, allow_pickle=False, **inputs, **_arrays(simulation))


def save_simulation(simulation: Simulation, path: Path) -> None:
    """Write every code tensor and the outputs, under ``codes/`` and ``output/``, as ``.npz``."""
    np.savez(path, allow_pickle=False, **_arrays(simulation))


def _arrays(simulation: Simulation) -> dict[str, Any]:
    codes = {f"codes/{name}": codes.numpy() for name, codes in simulation.codes.items()}
    return codes | {f"output/{name}": array for name, array in simulation.outputs.items()}


def _facts(prepared: PreparedModel, model: onnx.ModelProto) -> dict[str, object]:
    return {
        "target": prepared.plan.target,
        "inputs": {name: list(shape) for name, shape in prepared.inputs.items()},
        "outputs": [output.name for output in model.graph.output],
        "opset": model.opset_import[0].version,
        "floats": list(prepared.plan.floats),
        "environment": environment_facts(torch.get_num_threads()),
    }


def simulate(
    source: Path | onnx.ModelProto,
    inputs: Mapping[str, npt.NDArray[Any]],
    target: Target | None = None,
) -> Simulation:
    """Run a QDQ or QOperator file bit for bit under a target's arithmetic.

    Args:
        source: a bundle, an ONNX file, or a model in memory.
        inputs: graph input name to array, (N, ...).
        target: whose arithmetic; a bundle's own by default.

    Raises:
        InputError: no target for a bare file, or a missing input.
        UnsupportedError: a node has no integer form; the message names it.
    """
    if isinstance(source, onnx.ModelProto):
        model = source
    elif (Path(source) / CANONICAL_FILE).is_file():
        read_bundle(Path(source))
        model = load_onnx(Path(source) / CANONICAL_FILE)
        target = load_prepared_model(Path(source)).profile if target is None else target
    else:
        model = load_onnx(Path(source))
    if target is None:
        raise InputError(
            "target",
            "a file says nothing of the arithmetic: name a target",
            found="none",
            next_step="--target ort-cpu, or the path of a profile",
        )
    return run_graph(read_graph(model), as_profile(target).contract(), inputs)


def verify(
    path: Path,
    data: Dataset,
    *,
    limits: Limits | None = None,
    latency_runs: int = 100,
    progress: Advance = lambda stage: None,
) -> Report:
    """Hold a bundle against its reference: parity by law 12, accuracy, latency.

    Args:
        path: the bundle.
        data: samples, with labels for accuracy.
        limits: how much evidence a verdict needs.
        latency_runs: of one sample each.

    Raises:
        InputError: the bundle is broken, or the data does not fit the model.
    """
    return verify_bundle(
        Path(path), data, limits=limits, latency_runs=latency_runs, progress=progress
    )


def save_prepared(prepared: PreparedModel, folder: Path) -> None:
    """Write the prepared model into ``folder``, made if missing: tensors, plan and graph, no code.

    Raises:
        UnsupportedError: the graph calls what a prepared model may not call.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_prepared_model(prepared, folder)


def load_prepared(folder: Path) -> PreparedModel:
    """Read a prepared model, from its folder or from a bundle; runs no code.

    Raises:
        InputError: a file is missing or broken.
        UnsafeFileError: the graph calls what a prepared model may not call.
    """
    return load_prepared_model(Path(folder))
