"""What the hardware runs of a graph: nodes that cost time, others fused into those before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

from deployq.qgraph.nodes import (
    Dequantize,
    Elementwise,
    Float,
    IntegerGraph,
    Linear,
    Lookup,
    Move,
    Node,
    Pool,
    Quantize,
    Rescale,
)

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Clip")
"""Movement that moves nothing: another shape of the same bytes, or a clamp of what is written."""


@dataclass(frozen=True)
class Step:
    """A node, and those that are computed as its result is written, in order."""

    node: Node
    fused: tuple[Node, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All of them."""
        return (self.node, *self.fused)

    @property
    def output(self) -> str:
        """The tensor that is written."""
        return self.nodes[-1].output

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that are read."""
        own = {node.output for node in self.nodes}
        return tuple(name for node in self.nodes for name in node.inputs if name not in own)


def steps_of(graph: IntegerGraph, fused: Collection[str]) -> tuple[Step, ...]:
    """The nodes that cost time, in order; real inputs and outputs are converted elsewhere.

    Args:
        fused: operators that join a step before them: of those that write an operand the one with
            the most nodes before it, which then runs after the others. Nothing else reads what it
            writes.
    """
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(graph.outputs)
    depths = _depths(graph)
    steps: list[Step] = []
    for node in graph.nodes:
        if _is_free(node, graph):
            continue
        at = _before(steps, node, depths) if node.op_type in fused else None
        if at is None or readers[steps[at].output] != 1:
            steps.append(Step(node))
        else:
            joined = steps.pop(at)
            steps.append(replace(joined, fused=(*joined.fused, node)))
    return tuple(steps)


def _depths(graph: IntegerGraph) -> dict[str, int]:
    """Nodes on the longest way to each tensor."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        found[node.output] = 1 + max((found.get(name, 0) for name in node.inputs), default=0)
    return found


def _before(steps: list[Step], node: Node, depths: dict[str, int]) -> int | None:
    """The deepest step that writes an operand of an elementwise node, where it can take it in."""
    if not isinstance(node, Elementwise | Lookup):
        return None
    writers = [
        at
        for at, step in enumerate(steps)
        if step.output in node.inputs and isinstance(step.node, Linear | Pool | Elementwise)
    ]
    return max(writers, key=lambda at: (depths[steps[at].output], at), default=None)


def _is_free(node: Node, graph: IntegerGraph) -> bool:
    if isinstance(node, Quantize | Dequantize | Float):
        return True
    if isinstance(node, Rescale):
        return graph.qparams[node.inputs[0]] == graph.qparams[node.output]
    return isinstance(node, Move) and node.op_type in VIEWS
