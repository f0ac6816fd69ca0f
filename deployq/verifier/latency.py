"""Latency of a runtime's file, interleaved with the un-optimised canonical file (law 11)."""

from __future__ import annotations

import time
from collections.abc import Collection

import numpy as np
import onnxruntime as ort

from deployq.data import Dataset
from deployq.qgraph.edges import feed
from deployq.qgraph.nodes import Linear, MatMul
from deployq.qgraph.sizes import macs
from deployq.verifier.evidence import Evidence
from deployq.verifier.file_session import FileSession
from deployq.verifier.report import Latency
from deployq_exporters.runtimes.placement import float_operators, float_products

WARM_UP = 10


def measure_latency(
    evidence: Evidence,
    integer: FileSession,
    floating: FileSession,
    sample: Dataset,
    *,
    runs: int = 100,
) -> Latency:
    """Time one sample on both sessions, one run of each in turn.

    Args:
        evidence: whose layers have multiply-accumulates.
        integer: the runtime's file, as it is deployed.
        floating: the canonical file, un-optimised, which computes in float.
        sample: one sample of every input.
        runs: of each session.
    """
    times: dict[str, list[float]] = {"integer": [], "float": []}
    sessions = {"integer": integer, "float": floating}
    # as an integer edge takes it: what quantizes the sample is no part of the file
    fed = {name: feed(session.graph, sample.inputs) for name, session in sessions.items()}
    for number in range(WARM_UP + runs):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run_fed(fed[name])
            if number >= WARM_UP:
                times[name].append((time.perf_counter() - start) * 1e3)
    floats = float_operators(evidence.runtime_graph, integer.placement)
    products = float_products(evidence.runtime_graph, integer.placement)
    low, median, high = np.percentile(times["integer"], [5, 50, 95])
    return Latency(
        runtime=f"onnxruntime {ort.__version__}",
        threads=integer.threads,
        runs=runs,
        median_ms=float(median),
        low_ms=float(low),
        high_ms=float(high),
        float_median_ms=float(np.median(times["float"])),
        integer_share=integer_share(evidence, products),
        float_nodes=floats,
        samples_ms=tuple(times["integer"]),
        float_samples_ms=tuple(times["float"]),
    )


def integer_share(evidence: Evidence, floats: Collection[str]) -> float:
    """Part of the multiply-accumulates, products of two activations among them, outside the nodes
    that ran in float and the layers that the plan leaves there.

    Args:
        floats: names of nodes of the canonical file.
    """
    products = [n for n in evidence.graph.nodes if isinstance(n, (Linear, MatMul))]
    counts = {node.name: macs(node, evidence.shapes) for node in products}
    apart = sum(evidence.prepared.plan.float_macs.values())
    integer = sum(count for name, count in counts.items() if name not in floats)
    return integer / max(sum(counts.values()) + apart, 1)
