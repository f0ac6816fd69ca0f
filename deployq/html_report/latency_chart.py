"""Distributions of the runs of both files, on one axis in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployq.html_report.axis import Axis, Tick
from deployq.verifier.report import Latency

BINS = 50
HEIGHT = 60
MEDIANS = 4


@dataclass(frozen=True)
class Runs:
    """One file's runs.

    Args:
        label: which file.
        kind: ``deployed`` or ``plain``.
        bars: left end, top, width and height of each bin, in a box of 100 by :data:`HEIGHT`.
        median, low, high: places of the median and of the 5 and 95 % quantiles.
        text: these in milliseconds.
    """

    label: str
    kind: str
    bars: tuple[tuple[float, float, float, float], ...]
    median: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class LatencyChart:
    """Both distributions.

    Args:
        runs: deployed, then un-optimised.
        ticks: in milliseconds.
        beyond: runs slower than the axis shows; they are in the last bin.
    """

    runs: tuple[Runs, ...]
    ticks: tuple[Tick, ...]
    beyond: int


def latency_chart(latency: Latency) -> LatencyChart | None:
    """The chart; None where single runs were not kept.

    The axis starts at zero, so that lengths compare, and ends at the higher 98 % quantile, yet at
    most at :data:`MEDIANS` times the higher median: a busy machine would squeeze all the rest.
    """
    named = (
        ("deployed", "deployed file", latency.samples_ms),
        ("plain", "un-optimised file, in float", latency.float_samples_ms),
    )
    if not all(samples for _, _, samples in named):
        return None
    slow, middle = (
        max(float(np.percentile(samples, q)) for _, _, samples in named) for q in (98, 50)
    )
    end = min(slow, MEDIANS * middle)
    axis = Axis(0.0, 1.02 * end if end > 0 else 1.0)
    runs = tuple(_runs(axis, kind, label, samples) for kind, label, samples in named)
    beyond = sum(ms > axis.high for _, _, samples in named for ms in samples)
    return LatencyChart(runs, axis.ticks(6), beyond)


def _runs(axis: Axis, kind: str, label: str, samples: Sequence[float]) -> Runs:
    low, median, high = (float(q) for q in np.percentile(samples, [5, 50, 95]))
    kept = np.minimum(samples, axis.high)
    counts, _ = np.histogram(kept, BINS, (axis.low, axis.high))
    width, top = 100 / BINS, max(int(counts.max()), 1)
    heights = [round((HEIGHT - 4) * int(count) / top, 1) for count in counts]
    bars = tuple(
        (round(n * width, 2), round(HEIGHT - tall, 1), round(width * 0.9, 2), tall)
        for n, tall in enumerate(heights)
        if tall
    )
    text = f"median {median:.4g} ms, 5 % {low:.4g}, 95 % {high:.4g}, {len(samples)} runs"
    return Runs(label, kind, bars, axis.at(median), axis.at(low), axis.at(high), text)
