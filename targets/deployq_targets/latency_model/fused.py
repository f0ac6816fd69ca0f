"""What the hardware runs of a graph: nodes that cost time, functions fused into layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

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
    """A node, and the function that is computed as its result is written."""

    node: Node
    function: Lookup | None = None

    @property
    def output(self) -> str:
        """The tensor that is written."""
        return self.node.output if self.function is None else self.function.output


def steps_of(graph: IntegerGraph, *, fuses_functions: bool) -> tuple[Step, ...]:
    """The nodes that cost time, in order; real inputs and outputs are converted elsewhere.

    Args:
        fuses_functions: a function of a layer's result that nothing else reads is part of the
            layer.
    """
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(graph.outputs)
    functions = {n.inputs[0]: n for n in graph.nodes if isinstance(n, Lookup) and fuses_functions}
    steps, done = [], set[str]()
    for node in graph.nodes:
        if node.output in done or _is_free(node, graph):
            continue
        function = functions.get(node.output)
        if not isinstance(node, Linear | Pool | Elementwise) or readers[node.output] != 1:
            function = None
        if function is not None:
            done.add(function.output)
        steps.append(Step(node, function))
    return tuple(steps)


def _is_free(node: Node, graph: IntegerGraph) -> bool:
    if isinstance(node, Quantize | Dequantize | Float):
        return True
    if isinstance(node, Rescale):
        return graph.qparams[node.inputs[0]] == graph.qparams[node.output]
    return isinstance(node, Move) and node.op_type in VIEWS
