"""Build the files that benchmarks compare, and keep them in a folder so that a run can resume.

``float``, ``quantize_static`` and ``nncf`` are peers; any other contender is a target of deployq.
Built files are kept for ever: name a new folder after a change of the exporter.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import runtime
from benchmarks.models.spec import ModelSpec
from benchmarks.peers import float_onnx, nncf_ptq, quantize_static
from deployq import pipeline
from deployq.errors import DeployqError
from deployq_calibration.calibration_settings import CalibrationSettings

FLOAT = "float"
PEERS = ("quantize_static", "nncf")
DEPLOYED = "model.onnxruntime.onnx"


@dataclass(frozen=True)
class Built:
    """One contender's file.

    Args:
        contender: its name.
        path: None where it could not be built.
        reason: why not, as one line.
        note: what was chosen on the way, such as the calibrator.
    """

    contender: str
    path: Path | None
    reason: str = ""
    note: str = ""


def build(spec: ModelSpec, contender: str, work: Path) -> Built:
    """The contender's file, from the folder if it is there already.

    A network that a contender refuses, or that breaks it, is a result with a reason.
    """
    folder = work / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # peers print their progress
            path, note = _build(spec, contender, folder)
        runtime.session(path)  # a file that does not load is no result either
        return Built(contender, path, note=note)
    except DeployqError as error:
        return Built(contender, None, f"{error.where}: {error.rule} [{error.found}]")
    except Exception as error:  # a crash of a contender is a result like any other
        lines = str(error).strip().splitlines() or [""]
        return Built(contender, None, f"{type(error).__name__}: {lines[0][:200]}")


def _build(spec: ModelSpec, contender: str, folder: Path) -> tuple[Path, str]:
    """The file and a note."""
    if contender == FLOAT:
        return _float_file(spec, folder), ""
    if contender == "quantize_static":
        return _quantize_static(spec, folder)
    if contender == "nncf":
        return _nncf(spec, folder), ""
    return bundle(spec, contender, folder.parent) / DEPLOYED, ""


def bundle(spec: ModelSpec, target: str, work: Path) -> Path:
    """A deployq bundle of the network, calibrated with the defaults.

    Raises:
        DeployqError: the network cannot be carried to the target.
    """
    path = work / spec.name / target
    if not path.exists():
        calibration = spec.calibration()
        prepared = pipeline.prepare(spec.load(), [spec.example()], target)
        pipeline.calibrate(prepared, calibration)
        pipeline.export(prepared, path, calibration)
    return path


def plain_bundle(spec: ModelSpec, target: str, path: Path, samples: int) -> Path:
    """A bundle by ranges of few samples, without corrections: for networks slow to calibrate.

    Raises:
        DeployqError: the network cannot be carried to the target.
    """
    if not path.exists():
        data = spec.calibration()
        data = data.take(min(samples, len(data)))
        prepared = pipeline.prepare(spec.load(), [spec.example()], target)
        pipeline.calibrate(prepared, data, CalibrationSettings(corrections=()))
        pipeline.export(prepared, path, data)
    return path


def _float_file(spec: ModelSpec, folder: Path) -> Path:
    path, part = folder / "float.onnx", folder / "part.onnx"
    if not path.exists():
        float_onnx.export_float(spec.load(), spec, part)
        os.replace(part, path)
    return path


def _preprocessed(spec: ModelSpec, folder: Path) -> Path:
    path, part = folder / "float.preprocessed.onnx", folder / "part.onnx"
    if not path.exists():
        float_onnx.preprocess(_float_file(spec, folder), part)
        os.replace(part, path)
    return path


def _nncf(spec: ModelSpec, folder: Path) -> Path:
    path, part = folder / "nncf.onnx", folder / "part.onnx"
    if not path.exists():
        nncf_ptq.quantize(
            _preprocessed(spec, folder), part, spec.calibration(), transformer=spec.attends
        )
        os.replace(part, path)
    return path


def _quantize_static(spec: ModelSpec, folder: Path) -> tuple[Path, str]:
    """The best of three calibrators, chosen on the samples that may choose."""
    known = folder / "quantize_static.json"
    if not known.exists():
        calibration, figures = spec.calibration(), {}
        for method in quantize_static.METHODS:
            path = folder / f"quantize_static.{method}.onnx"
            if not path.exists():
                part = folder / "part.onnx"
                quantize_static.quantize(_preprocessed(spec, folder), part, calibration, method)
                os.replace(part, path)
            figures[method] = _figure_on_choosing(spec, folder, path)
        known.write_text(json.dumps(figures, sort_keys=True))
    figures = json.loads(known.read_text())
    best = best_of(figures, higher_is_better=spec.metric.higher_is_better)
    note = ", ".join(f"{method} {figure:.2f}" for method, figure in figures.items())
    path = folder / f"quantize_static.{best}.onnx"
    return path, f"{best} (choosing set: {note})"


def best_of(figures: dict[str, float], *, higher_is_better: bool) -> str:
    """The name of the best figure; the first of equals."""
    return (max if higher_is_better else min)(figures, key=lambda name: figures[name])


def _figure_on_choosing(spec: ModelSpec, folder: Path, path: Path) -> float:
    data = spec.choosing()
    floats = runtime.outputs(_float_file(spec, folder), data)
    return spec.metric.statistic(spec.metric.rows(runtime.outputs(path, data), floats, data))


def build_all(spec: ModelSpec, contenders: Sequence[str], work: Path) -> list[Built]:
    """Every contender's file, in order."""
    return [build(spec, contender, work) for contender in contenders]


def facts_of(built: Built) -> dict[str, str]:
    """For JSON: no path."""
    return {key: str(value) for key, value in asdict(built).items() if key != "path"}
