"""One file, many contracts: the same codes under other requantizations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from benchmarks.contenders import bundle
from benchmarks.contracts.swapped import BASE, swapped_contracts
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table
from deployq.arithmetic.contract import Contract
from deployq.opened_file import open_file
from deployq.progress import progress
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import feed
from deployq.simulator import Simulation, run_graph

NETWORKS = "cifar10_resnet20,imagenet_mobilenet_v2_100"
COLUMNS = ("network", "contract", "images", "codes", "different", "%", "top-1 %")
BATCH = 50
Array = npt.NDArray[Any]


@dataclass
class _Count:
    """Codes of one contract beside those of the base."""

    compared: int = 0
    different: int = 0
    right: int = 0

    def add(self, base: Simulation, other: Simulation, labels: Array) -> None:
        for name, codes in base.codes.items():
            self.compared += codes.numel()
            self.different += int((codes != other.codes[name]).sum())
        (scores,) = other.outputs.values()
        self.right += int((scores.argmax(1) == labels).sum())


def many_contracts(work: Path, models: str = NETWORKS) -> Table:
    """A row for each network and contract, on the reporting samples.

    Args:
        models: names with commas.
    """
    facts = [fact for spec in chosen(models) for fact in _measure(spec, work)]
    rows = [
        (f["network"], f["contract"], str(f["images"]), f"{f['codes']:,}", f"{f['different']:,}",
         f"{100 * f['different'] / f['codes']:.3f}", f"{f['top1']:.2f}")
        for f in facts
    ]  # fmt: skip
    title = f"one file, many contracts: codes that differ from {BASE}, end to end"
    return Table(title, COLUMNS, rows, facts)


def _measure(spec: ModelSpec, work: Path) -> list[Facts]:
    graph = open_file(bundle(spec, BASE, work)).graph
    contracts, data = swapped_contracts(), spec.reporting()
    counts = {label: _Count() for label in contracts}
    with progress(-(-len(data) // BATCH)) as advance:
        for batch in data.batches(BATCH):
            assert batch.labels is not None
            fed = feed(graph, batch.inputs)
            _compare(graph, contracts, fed, batch.labels, counts)
            advance(f"{spec.name}: many contracts")
    return [
        {"network": spec.name, "contract": label, "images": len(data), "codes": count.compared,
         "different": count.different, "top1": 100 * count.right / len(data)}
        for label, count in counts.items()
    ]  # fmt: skip


def _compare(
    graph: IntegerGraph,
    contracts: dict[str, Contract],
    fed: dict[str, Array],
    labels: Array,
    counts: dict[str, _Count],
) -> None:
    base = run_graph(graph, contracts[BASE], fed)
    for label, contract in contracts.items():
        other = base if label == BASE else run_graph(graph, contract, fed)
        counts[label].add(base, other, labels)
