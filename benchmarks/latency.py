"""Latency of the deployed files in ONNX Runtime: ratios to the float file and to two exporters.

    python -m benchmarks.latency [--models a,b] [--target ort-cpu] [--batches 1,32] [--work DIR]

Two threads, no spinning, all sessions in one process. A round runs each contender for a block, in
an order drawn anew; the ratio of a round is that of the medians of two blocks. Given: the median of
the rounds' ratios with its 95 % bootstrap interval, beside the share of multiply-accumulates that
ran in integer kernels. Exit code 1 where the upper end against the better peer is above --goal.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks import runtime
from benchmarks.command import parser, work_folder
from benchmarks.contenders import FLOAT, PEERS, Built, build_all
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.output import print_table, write_json
from benchmarks.rounds import interleaved
from benchmarks.statistics import Interval, Rows, median_ratio
from deployq.progress import progress

COLUMNS = ("network", "batch", "contender", "median ms", "integer share %", "deployq / contender",
           "reason")  # fmt: skip


def main() -> int:
    """Print a row for each network, batch and contender, and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--target", default="ort-cpu")
    flags.add_argument("--batches", default="1,32")
    flags.add_argument("--rounds", type=int, default=30)
    flags.add_argument("--threads", type=int, default=2)
    flags.add_argument("--goal", type=float, default=1.03)
    arguments = flags.parse_args()
    specs, batches = chosen(arguments.models), [int(b) for b in arguments.batches.split(",")]
    results = []
    with work_folder(arguments.work) as work, progress(len(specs) * len(batches)) as advance:
        for spec in specs:
            built = build_all(spec, (arguments.target, FLOAT, *PEERS), work)
            for batch in batches:
                advance(f"{spec.name}, batch {batch}")
                results.append(measure(spec, built, batch, arguments.rounds, arguments.threads))
    print_table("latency", COLUMNS, [_cells(r, c) for r in results for c in r["contenders"]])
    for result in results:
        print(f"{result['name']}, batch {result['batch']}: {_against_better(result)}")
    facts = {
        "benchmark": "latency",
        "target": arguments.target,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "runtime": ort.__version__,
        "results": results,
    }
    write_json(facts, arguments.json_out)
    return int(
        any(result["upper"] is None or result["upper"] > arguments.goal for result in results)
    )


def measure(
    spec: ModelSpec, built: list[Built], batch: int, rounds: int, threads: int
) -> dict[str, Any]:
    """Times of every contender at one batch size; the first one is deployq's."""
    sample = next(iter(spec.calibration().take(batch).inputs.values()))
    paths = {b.contender: b.path for b in built if b.path is not None}
    times = _times(paths, sample, rounds, threads)
    own = built[0].contender
    entries = []
    for one in built:
        entry: dict[str, Any] = {"contender": one.contender, "reason": one.reason}
        if one.path is not None:
            entry["median_ms"] = 1e3 * float(np.median(times[one.contender]))
            entry["integer_share"] = runtime.integer_share(one.path, sample)
            if own in times and one.contender != own:
                entry["ratio"] = asdict(median_ratio(times[own], times[one.contender]))
        entries.append(entry)
    better = _better_peer(times)
    upper = None
    if own in times and better is not None:
        upper = median_ratio(times[own], times[better]).high
    return {"name": spec.name, "batch": batch, "better_peer": better, "upper": upper,
            "contenders": entries}  # fmt: skip


def _times(
    paths: dict[str, Path], sample: runtime.Array, rounds: int, threads: int
) -> dict[str, Rows]:
    """Seconds of one run for each contender, one median a round."""
    sessions = {name: runtime.session(path, threads=threads) for name, path in paths.items()}
    return interleaved(
        {name: runtime.runs(opened, sample) for name, opened in sessions.items()}, rounds
    )


def _better_peer(times: dict[str, Rows]) -> str | None:
    """The faster of the other exporters."""
    return min((p for p in PEERS if p in times), key=lambda p: np.median(times[p]), default=None)


def _against_better(result: dict[str, Any]) -> str:
    if result["upper"] is None:
        return "no comparison with a peer"
    ratio = next(
        c["ratio"] for c in result["contenders"] if c["contender"] == result["better_peer"]
    )
    return f"deployq / {result['better_peer']} {Interval(**ratio).text(3)}"


def _cells(result: dict[str, Any], entry: dict[str, Any]) -> tuple[str, ...]:
    measured = "median_ms" in entry
    return (
        result["name"],
        str(result["batch"]),
        entry["contender"],
        f"{entry['median_ms']:.3f}" if measured else "-",
        f"{100 * entry['integer_share']:.1f}" if measured else "-",
        Interval(**entry["ratio"]).text(3) if "ratio" in entry else "",
        entry["reason"],
    )


if __name__ == "__main__":
    sys.exit(main())
