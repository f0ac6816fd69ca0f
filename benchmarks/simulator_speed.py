"""Throughput of the simulator beside ONNX Runtime's, on the file that ONNX Runtime gets.

    python -m benchmarks.simulator_speed [--models a,b] [--batch 32] [--threads 2] [--work DIR]

One process, the same threads for both, no spinning, under the contract of ``ort-cpu``. A round runs
each for a block, in an order drawn anew; the ratio of a round is that of the medians of two blocks.
Given: the median of the rounds' ratios with its 95 % bootstrap interval, and how many outputs
differ. Exit code 1 where a median is below --goal, or an output differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

from benchmarks import runtime
from benchmarks.command import parser, work_folder
from benchmarks.contenders import DEPLOYED, bundle
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table, show
from benchmarks.rounds import interleaved
from benchmarks.statistics import Interval, median_ratio
from deployq.progress import progress
from deployq.qgraph import read_graph
from deployq.simulator import run_graph
from deployq_targets import load_profile

TARGET = "ort-cpu"
NETWORKS = "cifar10_resnet20,imagenet_mobilenet_v2_100"
COLUMNS = ("network", "batch", "ONNX Runtime ms", "simulator ms", "throughput, simulator / runtime",
           "outputs", "different")  # fmt: skip


GOAL, BATCH_SIZE, ROUNDS, THREADS = 0.25, 32, 20, 2


def main() -> int:
    """Print a row for each network, and a line of JSON."""
    flags = parser(__doc__)
    for name, value in (("batch", BATCH_SIZE), ("rounds", ROUNDS), ("threads", THREADS)):
        flags.add_argument(f"--{name}", type=int, default=value)
    flags.add_argument("--goal", type=float, default=GOAL)
    given = flags.parse_args()
    sizes: dict[str, int] = {name: getattr(given, name) for name in ("batch", "rounds", "threads")}
    with work_folder(given.work) as work:
        table = simulator_speed(work, given.models or NETWORKS, goal=given.goal, **sizes)
    versions = {"runtime": ort.__version__, "torch": torch.__version__}
    return show(table, "simulator_speed", given.json_out, target=TARGET, **sizes, **versions)


def simulator_speed(
    work: Path,
    models: str = NETWORKS,
    *,
    batch: int = BATCH_SIZE,
    rounds: int = ROUNDS,
    threads: int = THREADS,
    goal: float = GOAL,
) -> Table:
    """A row for each network.

    Args:
        models: names with commas.
        goal: the least throughput over that of the runtime.
    """
    specs, results = chosen(models), list[Facts]()
    torch.set_num_threads(threads)
    with progress(len(specs)) as advance:
        for spec in specs:
            advance(spec.name)
            path = bundle(spec, TARGET, work) / DEPLOYED
            results.append(measure(spec, path, batch, rounds, threads))
    misses = [miss for result in results for miss in _misses(result, goal)]
    rows = [_cells(result) for result in results]
    return Table("speed of the simulator", COLUMNS, rows, results, misses)


def _misses(result: Facts, goal: float) -> Iterator[str]:
    if result["ratio"]["middle"] < goal:
        yield f"{result['name']}: {result['ratio']['middle']:.3f} of the runtime's, below {goal}"
    if result["different"]:
        yield f"{result['name']}: {result['different']} of {result['outputs']} outputs differ"


def measure(spec: ModelSpec, path: Path, batch: int, rounds: int, threads: int) -> Facts:
    """Times of both on one batch of calibration samples, and whether they compute the same."""
    sample = next(iter(spec.calibration().take(batch).inputs.values()))
    graph, contract = read_graph(onnx.load(path)), load_profile(TARGET).contract()
    inputs = {graph.inputs[0]: sample}
    deployed = runtime.runs(runtime.session(path, threads=threads), sample)
    times = interleaved(
        {"runtime": deployed, "simulator": lambda: run_graph(graph, contract, inputs, keep=())},
        rounds,
    )
    simulated = run_graph(graph, contract, inputs, keep=()).outputs.values()
    pairs = list(zip(deployed(), simulated, strict=True))
    return {
        "name": spec.name,
        "batch": batch,
        "runtime_ms": 1e3 * float(np.median(times["runtime"])),
        "simulator_ms": 1e3 * float(np.median(times["simulator"])),
        "ratio": asdict(median_ratio(times["runtime"], times["simulator"])),
        "outputs": sum(expected.size for expected, _ in pairs),
        "different": sum(int((expected != found).sum()) for expected, found in pairs),
    }


def _cells(result: Facts) -> tuple[str, ...]:
    return (
        result["name"],
        str(result["batch"]),
        f"{result['runtime_ms']:.1f}",
        f"{result['simulator_ms']:.1f}",
        Interval(**result["ratio"]).text(3),
        f"{result['outputs']:,}",
        str(result["different"]),
    )


if __name__ == "__main__":
    sys.exit(main())
