"""Movement that runs as several copies, one behind the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deployq.qgraph.nodes import Concat, Move
from deployq_targets.latency_model.fused import Step
from deployq_targets.latency_model.loops import Shapes
from deployq_targets.machine import Compute


@dataclass(frozen=True)
class Copy:
    """A part of a tensor that is written alone.

    Args:
        source: the tensor that is read, or the name of a constant; empty for a value that repeats.
            Both lie with the weights.
        shape: of the part.
    """

    source: str
    shape: tuple[int, ...]


def copies_of(step: Step, shapes: Shapes, compute: Compute) -> tuple[Copy, ...] | None:
    """The copies that a step is made of; None of one that runs whole."""
    node = step.node
    if isinstance(node, Concat) and compute.joins_in_place:
        return tuple(Copy(name, shapes[name]) for name in node.inputs if name not in step.in_place)
    if isinstance(node, Move) and node.op_type == "Pad" and compute.pads_by_sides:
        middle = Copy(node.inputs[0], shapes[node.inputs[0]])
        return (*_sides(node, shapes[node.output]), middle)
    return None


def _sides(node: Move, whole: tuple[int, ...]) -> Iterator[Copy]:
    """One for each side that is not empty, as long and as wide as the whole."""
    pads = node.attributes["pads"]
    axes = node.attributes.get("axes") or range(len(pads) // 2)
    for axis, *sizes in zip(axes, pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True):
        at = axis % len(whole)
        yield from (Copy("", (*whole[:at], s, *whole[at + 1 :])) for s in sizes if s > 0)
