"""Resize (opsets 10 to 19): nearest, over rows and columns, where every runtime takes one cell.

Whole factors repeat cells: all usual coordinate and rounding modes then agree. Other sizes are
``floor(i length / size)``, which float32 arithmetic must reach too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from deployq.arithmetic.oracle.resize import nearest_index
from deployq.qgraph.values import attributes, refuse

if TYPE_CHECKING:
    from deployq.qgraph.walk import Walk

FLOOR = ("asymmetric", "floor")
"""Coordinates and rounding whose cell is ``floor(i length / size)``."""

CENTRED = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
ROUNDED = ("round_prefer_floor", "round_prefer_ceil")
"""With these, ``(i + 0.5) / k - 0.5`` rounds to ``floor(i / k)`` and is never on a tie."""

LONGEST_SIDE = 1 << 20
"""Rows or columns of an output: every one of them is looked at."""

KEPT: tuple[tuple[str, Any], ...] = (
    ("mode", "nearest"), ("keep_aspect_ratio_policy", "stretch"), ("antialias", 0),
)  # fmt: skip
"""Attributes that say nothing else."""


def resize_facts(walk: Walk, node: onnx.NodeProto) -> dict[str, Any]:
    """``scales``, two whole factors, or ``sizes``, rows and columns of the output.

    Raises:
        UnsupportedError: another mode, batch or channels resized, sizes of an input whose own size
            is unknown, a factor that is not whole, or cells that float32 arithmetic misses.
    """
    facts = attributes(node)
    for key, value in KEPT:
        if facts.get(key, value) != value:
            raise refuse(
                node,
                f"Resize has {key} {value}",
                str(facts[key]),
                next_step="resize with mode nearest, or leave the operator out of the graph",
            )
    way = _way(node, facts)
    scales = _scales(walk, node, facts)
    if scales is None:
        return _from_sizes(walk, node, facts, way)
    if not all(scale >= 1 and float(scale).is_integer() for scale in scales):
        raise refuse(
            node,
            "Resize has whole factors",
            str(scales),
            next_step="state the output's sizes instead",
        )
    return {"scales": [int(scale) for scale in scales], "sizes": None}


def _way(node: onnx.NodeProto, facts: dict[str, Any]) -> tuple[str, str]:
    """Coordinates and rounding; opset 10, with two inputs, knows one way."""
    if len(node.input) == 2:
        return FLOOR
    coordinates = facts.get("coordinate_transformation_mode", "half_pixel")
    rounding = facts.get("nearest_mode", "round_prefer_floor")
    way = coordinates, rounding
    if way != FLOOR and not (coordinates in CENTRED and rounding in ROUNDED):
        raise refuse(
            node,
            "Resize takes the cell below or the nearest one",
            f"{coordinates} with {rounding}",
            "asymmetric with floor, or half_pixel with round_prefer_floor",
            next_step="export it with asymmetric coordinates and nearest_mode floor",
        )
    return way


def _scales(walk: Walk, node: onnx.NodeProto, facts: dict[str, Any]) -> list[float] | None:
    found = walk.integers(node, 1 if len(node.input) == 2 else 2)
    return _last_two(node, facts, found, [1.0, 1.0]) if found else None


def _last_two(
    node: onnx.NodeProto, facts: dict[str, Any], values: list[Any], unchanged: list[Any]
) -> list[Any]:
    """The values of rows and columns; those of batch and channels leave them as they are."""
    axes = [axis % 4 for axis in facts.get("axes", range(len(values)))]
    if axes == [2, 3]:
        return values
    if axes != [0, 1, 2, 3] or values[:2] != unchanged:
        raise refuse(
            node,
            "Resize changes rows and columns of (N, C, H, W)",
            f"{values} along axes {axes}",
            next_step="leave batch and channels as they are",
        )
    return values[2:]


def _from_sizes(
    walk: Walk, node: onnx.NodeProto, facts: dict[str, Any], way: tuple[str, str]
) -> dict[str, Any]:
    shape, found = walk.shapes.get(node.input[0], ()), walk.sizes(node, 3)
    known = len(shape) == 4 and all(isinstance(side, int) and side for side in shape[2:])
    if not found or not known:
        raise refuse(
            node,
            "Resize states whole factors, or sizes for an input of known size",
            f"sizes {found} for shape {list(shape)}",
            next_step="bind the input's height and width",
        )
    sizes = _last_two(node, facts, found, list(shape[:2]))
    if not all(isinstance(size, int) and 1 <= size <= LONGEST_SIDE for size in sizes):
        raise refuse(node, "Resize has sizes of an image", str(sizes), f"1..{LONGEST_SIDE}")
    pairs = list(zip(shape[2:], sizes, strict=True))
    if all(size % int(length) == 0 for length, size in pairs):
        return {"scales": [size // int(length) for length, size in pairs], "sizes": None}
    if way != FLOOR or not all(float32_agrees(int(length), size) for length, size in pairs):
        raise refuse(
            node,
            "every arithmetic takes the same cells",
            f"sizes {sizes} from {list(shape[2:])} with {way[0]} and {way[1]}",
            "whole factors, or asymmetric with floor where float32 is exact",
            next_step="choose a size that is a multiple of the input's",
        )
    return {"scales": None, "sizes": sizes}


def float32_agrees(length: int, size: int) -> bool:
    """True when runtimes, which divide by a float32 ratio, take the cells of ``nearest_index``."""
    ratio = np.float32(size) / np.float32(length)
    cells = np.floor(np.arange(size, dtype=np.float32) / ratio).astype(np.int64)
    return bool((np.minimum(cells, length - 1) == nearest_index(length, size)).all())
