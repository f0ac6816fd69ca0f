"""Latency of a runtime's file, interleaved with the un-optimised canonical file (law 11)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from deployq.graph.plan import LayerPlan
from deployq.verifier.report import Latency
from deployq_exporters.runtimes.onnxruntime import Session

WARM_UP = 10


def measure_latency(
    integer: Session,
    floating: Session,
    layers: Sequence[LayerPlan],
    sample: Mapping[str, npt.NDArray[Any]],
    *,
    runs: int = 100,
    threads: int = 1,
) -> Latency:
    """Time one sample on both sessions, one run of each in turn.

    Args:
        integer: the runtime's file, as it is deployed.
        floating: the canonical file, un-optimised, which computes in float.
        layers: with their multiply-accumulates.
        sample: one sample of every input.
        runs: of each session.
        threads: for the report.
    """
    times: dict[str, list[float]] = {"integer": [], "float": []}
    for number in range(WARM_UP + runs):
        for name, session in (("integer", integer), ("float", floating)):
            start = time.perf_counter()
            session.run(sample)
            if number >= WARM_UP:
                times[name].append((time.perf_counter() - start) * 1e3)
    total = sum(layer.macs for layer in layers)
    inside = [layer for layer in layers if integer.placement.runs_in_integers(layer.name)]
    outside = tuple(layer.name for layer in layers if layer not in inside)
    low, median, high = np.percentile(times["integer"], [5, 50, 95])
    return Latency(
        f"onnxruntime {ort.__version__}", threads, runs, float(median), float(low), float(high),
        float(np.median(times["float"])), sum(la.macs for la in inside) / max(total, 1), outside,
    )  # fmt: skip
