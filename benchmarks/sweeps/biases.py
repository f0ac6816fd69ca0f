"""Layers whose biases lie in one another's way, over unsigned codes of 8 or 16 bits.

One bias is up to 2**30, which leaves few bits to the others; zero points are worth a whole number
of steps and a half, where float32 decides which way bias and zero point round together.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from benchmarks.sweeps.layers import linear
from benchmarks.sweeps.sweep import Sweep
from deployq.arithmetic.geometry import ConvGeometry
from deployq.qtypes import QType

CHANNELS, INPUTS, SIDE = 24, 5, 9
KINDS = {
    "Conv": (1, 1), "Conv in steps of 2": (2, 1), "depthwise": (1, CHANNELS),
    "depthwise in steps of 2": (2, CHANNELS), "Gemm": (1, 1),
}  # fmt: skip
"""Steps and groups."""


def crowded(bits: int = 8, seed: int = 0) -> Iterator[Sweep]:
    """Each kind of layer with a scale for each channel, and with one for all."""
    rng = np.random.default_rng(seed)
    for kind, (step, groups) in KINDS.items():
        if bits == 8 or (step, groups) != KINDS["depthwise in steps of 2"]:
            for alone, large in product((False, True), (0, 24, 28, 29, 30)):
                yield _layer(rng, bits, kind, alone, large)


def _layer(rng: np.random.Generator, bits: int, kind: str, alone: bool, large: int) -> Sweep:
    """``alone``: one weight scale; ``large``: bits of the first bias, 0 if it is as all others."""
    (step, groups), qtype = KINDS[kind], QType(bits, signed=False)
    zeros = rng.integers(qtype.qmax // 8, qtype.qmax, 2)
    inputs, terms = (INPUTS, 9 * INPUTS) if groups == 1 else (1, 9)
    shape = (terms, CHANNELS) if kind == "Gemm" else (CHANNELS, inputs, 3, 3)
    weight, reach = rng.integers(-127, 128, shape), terms * qtype.qmax * 64
    real = qtype.qmax / reach * rng.uniform(0.5, 4, 1 if alone else CHANNELS)
    real = zeros[1] / (np.floor(zeros[1] / real) + 0.5)
    bias = rng.integers(-reach // 4, reach // 4, CHANNELS)
    if large:
        bias[0] = rng.choice([-1, 1]) * int(2.0 ** (large - rng.uniform(0, 0.2)))
        real[0] = min(real[0], 2.0**-10)  # a depthwise kernel wraps results of 2**24 and more
    scales = (float(rng.uniform(0.01, 1)), float(rng.uniform(0.01, 1)))
    ends, multipliers = (int(zeros[0]), int(zeros[1])), real[0] if alone else real
    if kind == "Gemm":
        x, geometry = rng.integers(0, qtype.qmax + 1, (16, terms)), None
    else:
        x = rng.integers(0, qtype.qmax + 1, (1, inputs * groups, SIDE, SIDE))
        geometry = ConvGeometry((step, step), (1, 1, 1, 1), (1, 1), groups)
    return linear(
        kind, x, weight, bias, multipliers, ends, geometry, scales=scales, qtype=qtype
    )  # fmt: skip
