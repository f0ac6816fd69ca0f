"""Chains of TRANSPOSE as one of them, or none: operators with an order of axes of their own stand
side by side (products and SOFTMAX of four axes), and each brought its two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One operator.

    Args:
        inputs, outputs: tensors, by index.
        axes: of a TRANSPOSE: for each axis of its output, the axis of its first input that it is;
            None of any other operator.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    axes: Axes | None = None


def joined(
    steps: Sequence[Step], ends: Sequence[int], constant: Callable[[Axes], int]
) -> list[tuple[int, Step]]:
    """What is left of the operators, each with its place in ``steps``.

    Args:
        steps: in an order that respects the data flow.
        ends: tensors that have to be made.
        constant: the tensor of a permutation.
    """
    same: dict[int, int] = {}
    """Tensors that hold what another one does."""
    moved: dict[int, tuple[int, Axes]] = {}
    kept: list[tuple[int, Step]] = []
    for place, step in enumerate(steps):
        inputs = tuple(same.get(index, index) for index in step.inputs)
        if step.axes is None:
            kept.append((place, Step(inputs, step.outputs)))
            continue
        (output,) = step.outputs
        source, first = moved.get(inputs[0], (inputs[0], tuple(range(len(step.axes)))))
        axes = tuple(first[axis] for axis in step.axes)
        if axes == tuple(range(len(axes))) and output not in ends:
            same[output] = source
            continue
        moved[output] = source, axes
        kept.append((place, Step((source, constant(axes)), step.outputs, axes)))
    return _alive(kept, ends)


def _alive(steps: list[tuple[int, Step]], ends: Sequence[int]) -> list[tuple[int, Step]]:
    """Those that something reads."""
    wanted, alive = set(ends), list[tuple[int, Step]]()
    for place, step in reversed(steps):
        if not wanted.isdisjoint(step.outputs):
            wanted.update(step.inputs)
            alive.append((place, step))
    return alive[::-1]
