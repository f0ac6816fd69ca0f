"""TRANSPOSE_CONV: windows that SAME and VALID cut, and windows that neither does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from benchmarks.sweeps.layers import EXACT, ROUGH, linear
from benchmarks.sweeps.sweep import S8, ZERO_POINTS, Sweep
from deployq.arithmetic.geometry import ConvTransposeGeometry, Pads, Pair
from deployq.qtypes import QType

TURNED: tuple[tuple[Pair, Pair, Pads, Pair], ...] = (
    ((2, 2), (2, 2), (0, 0, 0, 0), (0, 0)),
    ((4, 4), (2, 2), (1, 1, 1, 1), (0, 0)),
    ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1, 1, 1), (0, 0)),
    ((5, 4), (2, 3), (2, 0, 1, 1), (1, 2)),
    ((2, 2), (3, 3), (0, 0, 0, 0), (2, 2)),
    ((4, 3), (1, 1), (3, 2, 3, 2), (0, 0)),
)
"""Kernel, strides, pads and output padding."""
OUTPUTS = 32
"""The optimised kernels compute what fills no vector of 16 one by one."""
TIES = (1 / 4, 3 / 16, 1 / 64, 5 / 256, 1 / 3)


def turned(seed: int = 0, qtype: QType = S8) -> Iterator[Sweep]:
    """Random codes; few inputs, so that many sums are small and many results are ties."""
    rng = np.random.default_rng(seed)
    for (kernel, strides, pads, extra), scales in product(TURNED, (EXACT, ROUGH)):
        for channels, zero_points in zip((1, 3, 16), ZERO_POINTS, strict=False):
            zeros = zero_points if qtype == S8 else (0, 0)
            x = rng.integers(qtype.qmin, qtype.qmax + 1, (2, channels, 8, 7))
            weight = rng.integers(-127, 128, (OUTPUTS, channels, *kernel)) >> int(rng.integers(6))
            bias = rng.integers(-999, 999, OUTPUTS)
            each = np.resize(TIES, OUTPUTS) / 2.0 ** (qtype.bits - 6)
            geometry = ConvTransposeGeometry(strides, pads, output_padding=extra)
            sweep = linear(
                "TRANSPOSE_CONV", x, weight, bias, each, zeros, geometry, scales=scales, qtype=qtype
            )
            node = replace(sweep.graph.nodes[0], op_type="ConvTranspose")
            yield replace(sweep, graph=replace(sweep.graph, nodes=(node,)))
