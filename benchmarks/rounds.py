"""Times of several contenders in one run, block after block, in an order drawn anew each round."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.statistics import Rows

Run = Callable[[], object]
BLOCK_SECONDS = 0.02
"""A block has as many runs as fit, at least three."""


def interleaved(contenders: Mapping[str, Run], rounds: int) -> dict[str, Rows]:
    """Seconds of one run for each contender, one median a round."""
    blocks = {name: _runs_in_block(run) for name, run in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order, draw = list(contenders), random.Random(0)
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            block = [_seconds(contenders[name]) for _ in range(blocks[name])]
            times[name].append(float(np.median(block[1:])))  # the first one warms the caches
    return {name: np.array(values) for name, values in times.items()}


def _runs_in_block(run: Run) -> int:
    """Warms up on the way; one run more than is counted."""
    once = min(_seconds(run) for _ in range(5))
    return 1 + max(3, round(BLOCK_SECONDS / once))


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
