"""Movement operators axis by axis: where the cells of the output come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deployq.arithmetic.oracle.resize import nearest_index
from deployq.qgraph.nodes import Move
from deployq.qparams import IntArray

Shape = tuple[int, ...]
FILL = -1
"""The cell of a padding."""


@dataclass(frozen=True, eq=False)
class AxisMove:
    """One axis of the output.

    Args:
        axis: of the input that it runs along.
        cells: of that axis, or :data:`FILL`, one for each place of the output's axis.
    """

    axis: int
    cells: IntArray


def axis_moves(node: Move, shape: Shape) -> tuple[AxisMove, ...] | None:
    """The moves of every axis of the output; None where codes keep their order.

    Args:
        shape: of the input.
    """
    move = _MOVES.get(node.op_type)
    return None if move is None else move(node, shape)


def _transpose(node: Move, shape: Shape) -> tuple[AxisMove, ...]:
    perm = node.attributes["perm"] or range(len(shape))[::-1]
    return tuple(AxisMove(axis, np.arange(shape[axis])) for axis in perm)


def _slice(node: Move, shape: Shape) -> tuple[AxisMove, ...]:
    facts, cells = node.attributes, _whole(shape)
    parts = zip(facts["axes"], facts["starts"], facts["ends"], facts["steps"], strict=True)
    for axis, start, end, step in parts:
        cells[axis] = cells[axis][start:end:step]
    return _along(cells)


def _gather(node: Move, shape: Shape) -> tuple[AxisMove, ...]:
    cells, axis = _whole(shape), node.attributes["axis"]
    cells[axis] = np.asarray(node.attributes["indices"]) % shape[axis]
    return _along(cells)


def _pad(node: Move, shape: Shape) -> tuple[AxisMove, ...]:
    facts, cells = node.attributes, _whole(shape)
    half = len(facts["pads"]) // 2
    axes = facts["axes"] or range(half)
    for axis, before, after in zip(axes, facts["pads"][:half], facts["pads"][half:], strict=True):
        places = np.arange(-before, shape[axis] + after)
        cells[axis] = _PADDED[facts["mode"]](places, shape[axis])
    return _along(cells)


def _filled(places: IntArray, length: int) -> IntArray:
    return np.where((places < 0) | (places >= length), FILL, places)


def _mirrored(places: IntArray, length: int) -> IntArray:
    last = length - 1
    mirrored: IntArray = last - np.abs(last - np.abs(places))
    return mirrored


def _resize(node: Move, shape: Shape) -> tuple[AxisMove, ...]:
    facts = node.attributes
    factors = facts["scales"] or (0, 0)
    sizes = facts["sizes"] or [n * k for n, k in zip(shape[2:], factors, strict=True)]
    resized = [nearest_index(n, size) for n, size in zip(shape[2:], sizes, strict=True)]
    return _along([*_whole(shape[:2]), *resized])


def _whole(shape: Shape) -> list[IntArray]:
    return [np.arange(length) for length in shape]


def _along(cells: list[IntArray]) -> tuple[AxisMove, ...]:
    return tuple(AxisMove(axis, places) for axis, places in enumerate(cells))


_PADDED: dict[str, Callable[[IntArray, int], IntArray]] = {
    "constant": _filled,
    "reflect": _mirrored,
    "edge": lambda places, length: np.clip(places, 0, length - 1),
}
_MOVES: dict[str, Callable[[Move, Shape], tuple[AxisMove, ...]]] = {
    "Transpose": _transpose,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": _resize,
}
"""The operators that change the order or the number of codes."""
