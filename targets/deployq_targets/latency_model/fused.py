"""What the hardware runs of a graph: nodes that cost time, others fused into those before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from deployq.qgraph.nodes import (
    Concat,
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
from deployq_targets.profile import TargetProfile

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Clip")
"""Movement that moves nothing: another shape of the same bytes, or a clamp of what is written."""

LAST = (0, 2, 3, 1)
"""The order that brings channels last."""


@dataclass(frozen=True)
class Step:
    """A node, and those that are computed as its result is written, in order.

    Args:
        views: other names and shapes of the tensor that is written.
        joined: the result of a Concat of which the step writes a part, in its place.
        in_place: of a Concat, the operands that are written so.
    """

    node: Node
    fused: tuple[Node, ...] = ()
    views: tuple[str, ...] = ()
    joined: str | None = None
    in_place: tuple[str, ...] = ()

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


def steps_of(graph: IntegerGraph, profile: TargetProfile) -> tuple[Step, ...]:
    """The nodes that cost time, in order; real inputs and outputs are converted elsewhere.

    An operator of ``compute.fused`` joins a step before it: of those that write an operand the one
    with the most nodes before it, which then runs after the others. Nothing else reads what it
    writes.
    """
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(graph.outputs)
    depths = _depths(graph)
    steps: list[Step] = []
    for node in graph.nodes:
        if _is_free(node, graph):
            continue
        viewed = _viewed(steps, node, readers, channels_last=profile.align.channels_last)
        if viewed is not None:
            steps[viewed] = replace(steps[viewed], views=(*steps[viewed].views, node.output))
        if viewed is not None or (isinstance(node, Move) and node.op_type in VIEWS):
            continue
        at = _before(steps, node, depths) if node.op_type in profile.compute.fused else None
        if at is None or readers[steps[at].output] != 1:
            steps.append(Step(node))
        else:
            joined = steps.pop(at)
            steps.append(replace(joined, fused=(*joined.fused, node)))
    return tuple(_joined(steps, readers) if profile.compute.joins_in_place else steps)


def _viewed(
    steps: list[Step], node: Node, readers: Mapping[str, int], *, channels_last: bool
) -> int | None:
    """The step whose tensor a node only shows in another shape or order."""
    if not isinstance(node, Move):
        return None
    last = channels_last and tuple(node.attributes.get("perm") or ()) == LAST
    if node.op_type not in VIEWS and not (node.op_type == "Transpose" and last):
        return None
    for at, step in enumerate(steps):
        writes = isinstance(step.node, Linear | Pool | Elementwise) and readers[step.output] == 1
        if node.inputs[0] == step.output and (node.op_type in VIEWS or writes):
            return at
        if node.inputs[0] in step.views and node.op_type in VIEWS:
            return at
    return None


def _joined(steps: list[Step], readers: Mapping[str, int]) -> Iterator[Step]:
    """Steps whose result only a Concat reads write it in its place."""
    joins = {name: s.output for s in steps if isinstance(s.node, Concat) for name in s.inputs}
    own = {
        step.output
        for step in steps
        if readers[step.output] == 1 and isinstance(step.node, Linear | Pool | Elementwise)
    }
    for step in steps:
        if step.output in own & joins.keys():
            yield replace(step, joined=joins[step.output])
        elif isinstance(step.node, Concat):
            yield replace(step, in_place=tuple(name for name in step.inputs if name in own))
        else:
            yield step


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
    return False
