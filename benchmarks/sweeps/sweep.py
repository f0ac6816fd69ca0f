"""A graph of one operator and the codes to feed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deployq.qgraph.nodes import IntegerGraph, Node
from deployq.qparams import IntArray, QParams
from deployq.qtypes import QType

S8, S16 = QType(8, signed=True), QType(16, signed=True)
EVERY_CODE = np.arange(-128, 128)
ZERO_POINTS = ((0, 0), (-128, 127), (5, -7), (-33, 64), (127, -128))
"""Of input and output: both signs, odd and even, and the edges."""
UNITS = (1 / 64, 0.0173)
"""Of scales: float32 joins multiples of the first exactly, of the second not."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """One operator and what it is fed.

    Args:
        graph: of one node that computes, or a few that a target computes as one.
        inputs: graph input to codes, (N, ...).
    """

    graph: IntegerGraph
    inputs: Mapping[str, IntArray]


def grid(scale: float, zero_point: int = 0, qtype: QType = S8) -> QParams:
    """Parameters of codes, s8 where nothing else is said."""
    return QParams(qtype, np.asarray(scale, np.float32), np.asarray(zero_point))


def of(node: Node, grids: Mapping[str, QParams], **codes: IntArray) -> Sweep:
    """A graph that is one node; codes in, codes out."""
    graph = IntegerGraph((node,), dict(grids), tuple(codes), (node.output,))
    return Sweep(graph, {n: array.astype(grids[n].qtype.dtype) for n, array in codes.items()})
