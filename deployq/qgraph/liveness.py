"""How much memory the activations of one sample need at least, operators run in file order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from deployq.qgraph.nodes import IntegerGraph
from deployq.qgraph.sizes import packed_size


@dataclass(frozen=True)
class LiveSet:
    """The largest set of code tensors that are alive at once.

    Args:
        tensor: the result of the operator that runs then.
        size: bytes in ONNX containers, packed.
    """

    tensor: str
    size: int


def largest_live_set(graph: IntegerGraph, shapes: Mapping[str, tuple[int, ...]]) -> LiveSet:
    """Walk the nodes in order; a tensor lives from its node to its last reader.

    While a node runs, its operands and its result are alive. Constants take no activation memory.

    Args:
        shapes: of every code tensor, for one sample.
    """
    last = last_readers(graph)
    alive = {name: _size(graph, shapes, name) for name in graph.inputs if name in graph.qparams}
    largest = LiveSet("", 0)
    for number, node in enumerate(graph.nodes):
        if node.output in graph.qparams:
            alive[node.output] = _size(graph, shapes, node.output)
            if sum(alive.values()) > largest.size:
                largest = LiveSet(node.output, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last.get(name, number) > number}
    return largest


def last_readers(graph: IntegerGraph) -> dict[str, int]:
    """The number of the node that reads a tensor last; that behind the last for graph outputs."""
    last = {name: number for number, node in enumerate(graph.nodes) for name in node.inputs}
    return last | dict.fromkeys(graph.outputs, len(graph.nodes))


def _size(graph: IntegerGraph, shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    return packed_size(prod(shapes[name]), graph.qparams[name].qtype)
