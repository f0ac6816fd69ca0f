"""Wall time of an export over ``torch.onnx.export(dynamo=True)`` of the float network.

    python -m benchmarks.export_time [--models a,b] [--target ort-cpu] [--rounds 5]

deployq's time is capture, prepare and export (lower, dialects, checks, golden vectors, manifest);
imports and calibration are apart. Both are run once to warm up, then interleaved. Given: the median
of the rounds' ratios with its 95 % bootstrap interval, and the median seconds of each part. Exit
code 1 where a median ratio is above --goal.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import parser
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.output import print_table, write_json
from benchmarks.peers.float_onnx import export_float
from benchmarks.statistics import Interval, median_ratio
from deployq import pipeline
from deployq.data import Dataset
from deployq.errors import DeployqError
from deployq.graph.capture import capture
from deployq.progress import progress
from deployq_calibration.calibration_settings import CalibrationSettings

PARTS = ("capture", "prepare", "export")
SAMPLES = 64
"""Enough to calibrate; the scales' values do not change the time of an export."""


def main() -> int:
    """Print a row for each network, and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--target", default="ort-cpu")
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--goal", type=float, default=2.0)
    arguments = flags.parse_args()
    specs, results = chosen(arguments.models), []
    with progress(len(specs)) as advance:
        for spec in specs:
            advance(spec.name)
            try:
                results.append(measure(spec, arguments.target, arguments.rounds))
            except DeployqError as error:
                results.append({"name": spec.name, "reason": f"{error.where}: {error.rule}"})
    columns = ("network", "deployq / torch", "torch s", *(f"{part} s" for part in PARTS), "reason")
    print_table("export time", columns, [_cells(result) for result in results])
    facts = {"benchmark": "export_time", "target": arguments.target, "results": results}
    write_json(facts, arguments.json_out)
    over = [r for r in results if "ratio" not in r or r["ratio"]["middle"] > arguments.goal]
    return int(bool(over))


def measure(spec: ModelSpec, target: str, rounds: int) -> dict[str, Any]:
    """Interleaved times of both exporters.

    Raises:
        DeployqError: the network cannot be carried to the target.
    """
    data = spec.calibration()
    few = data.take(min(SAMPLES, len(data)))
    parts, floats = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(rounds + 1):
            own = deployq_seconds(spec, target, few, folder / f"bundle{number}")
            start = time.perf_counter()
            export_float(spec.load(), spec, folder / "float.onnx")
            other = time.perf_counter() - start
            if number:
                parts.append([own[part] for part in PARTS])
                floats.append(other)
    whole = np.array(parts).sum(1)
    medians = dict(zip(PARTS, np.median(np.array(parts), 0).tolist(), strict=True))
    ratio = median_ratio(whole, np.array(floats))
    return {"name": spec.name, "ratio": asdict(ratio), "torch_s": float(np.median(floats)),
            "parts_s": medians}  # fmt: skip


def deployq_seconds(spec: ModelSpec, target: str, data: Dataset, path: Path) -> dict[str, float]:
    """Seconds of capture, prepare and export; calibration happens between them, untimed."""
    model = spec.load()
    start = time.perf_counter()
    captured = capture(model, [spec.example()])
    middle = time.perf_counter()
    prepared = pipeline.prepare(captured, (), target)
    end = time.perf_counter()
    pipeline.calibrate(prepared, data, CalibrationSettings(corrections=()))
    again = time.perf_counter()
    pipeline.export(prepared, path, data)
    written = time.perf_counter()
    return {"capture": middle - start, "prepare": end - middle, "export": written - again}


def _cells(result: dict[str, Any]) -> tuple[str, ...]:
    if "ratio" not in result:
        return (result["name"], "-", "-", *("-" for _ in PARTS), result["reason"])
    parts = (f"{result['parts_s'][part]:.2f}" for part in PARTS)
    ratio = Interval(**result["ratio"]).text()
    return (result["name"], ratio, f"{result['torch_s']:.2f}", *parts, "")


if __name__ == "__main__":
    sys.exit(main())
