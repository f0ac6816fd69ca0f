"""SOFTMAX: rows of every distance between two codes, and of up to as many elements as fit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.sweeps.sweep import EVERY_CODE, Sweep, grid, of
from deployq.qgraph.nodes import Softmax

LENGTHS = (1, 3, 5, 10, 64, 511)
"""LiteRT's reference divides by sums below 512."""
SCALES = (1e-6, 1 / 256, 1 / 64, 0.0173, 1 / 16, 0.1, 1.0, 40.0)
"""From one at which all shares are equal to one at which the largest code has all."""


def shares(seed: int = 0) -> Iterator[Sweep]:
    """Rows of two codes, and random ones that gather in narrow and in wide ranges."""
    rng = np.random.default_rng(seed)
    pairs = np.stack([np.full(256, 127), EVERY_CODE], 1)
    for scale in (*SCALES, *rng.uniform(0.005, 0.3, 8)):
        yield _of(scale, np.concatenate([pairs, pairs[:, ::-1]]))
        for length in LENGTHS:
            rows = rng.normal(0, rng.choice([3, 20, 80], (240, 1)), (240, length))
            rows[:2] = [[-128], [127]]
            yield _of(scale, np.clip(np.round(rows), -128, 127))


def _of(scale: float, codes: np.ndarray) -> Sweep:
    node = Softmax(name="SOFTMAX", op_type="Softmax", inputs=("x",), output="y")
    return of(node, {"x": grid(scale, 5), "y": grid(1 / 256, -128)}, x=codes)
