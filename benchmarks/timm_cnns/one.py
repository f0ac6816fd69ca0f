"""Take one network of timm through the stages; prints one line of JSON.

    python -m benchmarks.timm_cnns.one NAME --size 64 --stage prepare|export|parity

The benchmark ``benchmarks.breadth`` starts this in a process of its own for each network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.evidence_size import images_wanted
from benchmarks.timm_cnns.network import images, network
from deployq import pipeline
from deployq.data import Dataset
from deployq.errors import DeployqError
from deployq.graph.capture import capture
from deployq.graph.preparation import PreparedModel
from deployq.verifier.report import Report
from deployq_calibration.calibration_settings import CalibrationSettings

STAGES = ("prepare", "export", "parity")
STATISTICS_BATCH = 32
CALIBRATION = 64
MORE = 5
"""Times the images, where a layer took too few distinct codes for law 12."""


@dataclass
class Outcome:
    """How far one network came.

    Args:
        model: timm's name.
        reached: stages that ended well.
        reason: first sentence of what stopped it; "" where nothing did.
        detail: the whole text of the error, or the missed limits.
        floats: nodes outside integer arithmetic, by the plan.
        codes, images: compared in parity.
        seconds: by stage.
    """

    model: str
    reached: list[str] = field(default_factory=list)
    reason: str = ""
    detail: str = ""
    floats: int = 0
    codes: int = 0
    images: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Print the outcome as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--stage", choices=STAGES, default=STAGES[-1])
    parser.add_argument("--target", default="ort-cpu")
    arguments = parser.parse_args()
    outcome = Outcome(arguments.model)
    stages = STAGES[: STAGES.index(arguments.stage) + 1]
    try:
        _run(outcome, arguments.size, arguments.target, stages)
    except DeployqError as error:
        outcome.reason, outcome.detail = f"{error.rule} [{error.found}]", str(error)
    except Exception as error:  # a crash is a finding like any other
        lines = str(error).strip().splitlines() or [""]
        outcome.reason = f"{type(error).__name__}: {lines[0][:200]}"
        outcome.detail = str(error)
    print(json.dumps(asdict(outcome), sort_keys=True))


def _run(outcome: Outcome, size: int, target: str, stages: tuple[str, ...]) -> None:
    pixels = images("imagenet_calib500_227", size)
    model = network(outcome.model, pixels[:STATISTICS_BATCH])
    start = time.perf_counter()
    captured = capture(model, [torch.zeros(2, 3, size, size)])
    prepared = pipeline.prepare(captured, (), target)
    outcome.floats = len(prepared.plan.floats)
    outcome.reached.append("prepare")
    outcome.seconds["prepare"] = time.perf_counter() - start
    if "export" not in stages:
        return
    with tempfile.TemporaryDirectory() as name:
        bundle = Path(name) / "bundle"
        _export(outcome, prepared, bundle, pixels[:CALIBRATION])
        if "parity" in stages:
            _parity(outcome, bundle, size)


def _export(outcome: Outcome, prepared: PreparedModel, bundle: Path, pixels: np.ndarray) -> None:
    start = time.perf_counter()
    data = Dataset({next(iter(prepared.inputs)): pixels})
    pipeline.calibrate(prepared, data, CalibrationSettings(corrections=()))
    pipeline.export(prepared, bundle, data)
    outcome.reached.append("export")
    outcome.seconds["export"] = time.perf_counter() - start


def _parity(outcome: Outcome, bundle: Path, size: int) -> None:
    start = time.perf_counter()
    pixels, wanted = images("imagenet_val900_227", size), images_wanted(bundle)
    report = _verify(bundle, pixels[:wanted])
    if _more_may_do(report):
        wanted *= MORE
        report = _verify(bundle, pixels[:wanted])
    outcome.codes = max(parity.compared for parity in report.parities)
    outcome.images = min(wanted, len(pixels))
    outcome.seconds["parity"] = time.perf_counter() - start
    misses = report.misses()
    if misses:
        outcome.reason, outcome.detail = f"limit missed [{misses[0]}]", "\n".join(misses)
    else:
        outcome.reached.append("parity")


def _verify(bundle: Path, pixels: np.ndarray) -> Report:
    prepared = pipeline.load_prepared(bundle)
    return pipeline.verify(bundle, Dataset({next(iter(prepared.inputs)): pixels}), latency_runs=1)


def _more_may_do(report: Report) -> bool:
    """Nothing was missed but codes that some layer took, and it took half of them."""
    thin = [text for parity in report.parities for text in parity.thin(report.limits)]
    rows = [row for parity in report.parities for row in parity.layers]
    wanted = [min(row.wanted_distinct, report.limits.min_distinct) for row in rows]
    near = all(2 * row.distinct >= codes for row, codes in zip(rows, wanted, strict=True))
    return bool(thin) and near and set(report.misses()) == set(thin)


if __name__ == "__main__":
    main()
