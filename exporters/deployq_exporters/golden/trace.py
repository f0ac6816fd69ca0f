"""The golden vectors of one network as values: what the writers of this package write.

Whoever makes them runs the simulator; nothing here computes a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from deployq.arithmetic.contract import Accumulator
from deployq.arithmetic.rounding import Int64Array
from deployq.qgraph.nodes import Node
from deployq.qparams import IntArray, QParams
from deployq_exporters.golden.packing import Packing
from deployq_exporters.golden.plans import Plan


class Source(StrEnum):
    """Where vectors come from."""

    DATA = "data"  # the network, run on samples
    DESIGNED = "designed"  # inputs of one layer, made to hit its edges
    SUMS = "sums"  # finished sums, made to hit the edges of the last step


@dataclass(frozen=True, eq=False, kw_only=True)
class Vectors:
    """What one layer reads and what the simulator gives.

    Args:
        source: where they come from.
        inputs: codes of each operand in the order of the node; none for SUMS.
        sums: finished sums as the accumulator holds them; None for operators without.
        output: codes.
        reaches: cases that each row of axis 0 hits, DESIGNED and SUMS only.
    """

    source: Source
    inputs: tuple[IntArray, ...]
    sums: Int64Array | None
    output: IntArray
    reaches: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """One integer node with its vectors.

    Args:
        node: from the graph.
        inputs, out: parameters of its code tensors.
        plan: what it computes, in integers.
        vectors: DATA first.
        missed: case to why no vector hits it.
    """

    node: Node
    inputs: tuple[QParams, ...]
    out: QParams
    plan: Plan
    vectors: tuple[Vectors, ...]
    missed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace:
    """A whole network.

    Args:
        target: name of the profile whose arithmetic it is.
        accumulator: of Conv, Gemm and MatMul.
        packing: of the target's memory.
        layers: in graph order.
        samples: of the data vectors.
        floats: operators that run in float, which no integer vectors cover.
    """

    target: str
    accumulator: Accumulator
    packing: Packing
    layers: tuple[Layer, ...]
    samples: int
    floats: tuple[str, ...] = ()
