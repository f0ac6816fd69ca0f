"""Take one network with random weights through the stages of the job, and say how far it came."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
from torch import Tensor, nn

from benchmarks.evidence_size import images_wanted
from deployq import pipeline
from deployq.data import Dataset
from deployq.errors import DeployqError
from deployq.graph.capture import capture
from deployq.graph.preparation import PreparedModel
from deployq.verifier.report import Report
from deployq_calibration.calibration_settings import CalibrationSettings

STAGES = ("prepare", "export", "parity")
CALIBRATION = 64
MORE = 5
"""Times the samples, where a layer took too few distinct codes for law 12."""


@dataclass
class Outcome:
    """How far one network came.

    Args:
        model: its name.
        reached: stages that ended well.
        reason: first sentence of what stopped it; "" where nothing did.
        detail: the whole text of the error, or the missed limits.
        floats: nodes outside integer arithmetic, by the plan.
        codes, images: compared in parity; an image is a sample of any kind.
        share: part of the multiply-accumulates in integer kernels.
        seconds: by stage.
    """

    model: str
    reached: list[str] = field(default_factory=list)
    reason: str = ""
    detail: str = ""
    floats: int = 0
    codes: int = 0
    images: int = 0
    share: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A network and its samples.

    Args:
        model: in evaluation mode, with one input.
        example: of the input, two samples.
        calibration: at least :data:`CALIBRATION` samples.
        unseen: up to so many further samples.
    """

    model: nn.Module
    example: Tensor
    calibration: npt.NDArray[Any]
    unseen: Callable[[int], npt.NDArray[Any]]


def report(name: str, build: Callable[[], Subject], stage: str, target: str) -> None:
    """Run every stage up to ``stage``; print the outcome as one line of JSON."""
    outcome = Outcome(name)
    try:
        _run(outcome, build(), target, STAGES[: STAGES.index(stage) + 1])
    except DeployqError as error:
        outcome.reason, outcome.detail = f"{error.rule} [{error.found}]", str(error)
    except Exception as error:  # a crash is a finding like any other
        lines = str(error).strip().splitlines() or [""]
        outcome.reason = f"{type(error).__name__}: {lines[0][:200]}"
        outcome.detail = str(error)
    print(json.dumps(asdict(outcome), sort_keys=True))


def _run(outcome: Outcome, subject: Subject, target: str, stages: Sequence[str]) -> None:
    start = time.perf_counter()
    prepared = pipeline.prepare(capture(subject.model, [subject.example]), (), target)
    outcome.floats = len(prepared.plan.floats)
    outcome.reached.append("prepare")
    outcome.seconds["prepare"] = time.perf_counter() - start
    if "export" not in stages:
        return
    with tempfile.TemporaryDirectory() as name:
        bundle = Path(name) / "bundle"
        _export(outcome, prepared, bundle, subject.calibration[:CALIBRATION])
        if "parity" in stages:
            _parity(outcome, bundle, subject)


def _export(
    outcome: Outcome, prepared: PreparedModel, bundle: Path, samples: npt.NDArray[Any]
) -> None:
    start = time.perf_counter()
    data = Dataset({next(iter(prepared.inputs)): samples})
    pipeline.calibrate(prepared, data, CalibrationSettings(corrections=()))
    pipeline.export(prepared, bundle, data)
    outcome.reached.append("export")
    outcome.seconds["export"] = time.perf_counter() - start


def _parity(outcome: Outcome, bundle: Path, subject: Subject) -> None:
    start, wanted = time.perf_counter(), images_wanted(bundle)
    samples = subject.unseen(wanted)
    found = _verify(bundle, samples)
    if _more_may_do(found):
        samples = subject.unseen(wanted * MORE)
        found = _verify(bundle, samples)
    outcome.codes = max(parity.compared for parity in found.parities)
    outcome.images = len(samples)
    outcome.share = found.latency.integer_share
    outcome.seconds["parity"] = time.perf_counter() - start
    misses = found.misses()
    if misses:
        outcome.reason, outcome.detail = f"limit missed [{misses[0]}]", "\n".join(misses)
    else:
        outcome.reached.append("parity")


def _verify(bundle: Path, samples: npt.NDArray[Any]) -> Report:
    prepared = pipeline.load_prepared(bundle)
    data = Dataset({next(iter(prepared.inputs)): samples})
    return pipeline.verify(bundle, data, latency_runs=1)


def _more_may_do(found: Report) -> bool:
    """Nothing was missed but codes that some layer took, and it took half of them."""
    thin = [text for parity in found.parities for text in parity.thin(found.limits)]
    rows = [row for parity in found.parities for row in parity.layers]
    wanted = [min(row.wanted_distinct, found.limits.min_distinct) for row in rows]
    near = all(2 * row.distinct >= codes for row, codes in zip(rows, wanted, strict=True))
    return bool(thin) and near and set(found.misses()) == set(thin)
