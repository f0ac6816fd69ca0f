"""channel_shuffle, pixel_shuffle and pixel_unshuffle become reshapes and permutations of rank 4.

    channel_shuffle:  (N, g, C/g, HW)  swap axes 1, 2
    pixel_shuffle:    (NCr, r, H, W) -> (NCr, H, W, r) = (NC, r, H, Wr) -> (NC, H, r, Wr)
    pixel_unshuffle:  the same backwards

Many targets hold no tensor of rank 5 or 6, which the usual spelling needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from deployq.graph.rewrites.build import aten, build, static_shape, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls

Step = tuple[Any, list[int]]


def _channel(groups: int, channels: int, rows: int, columns: int) -> list[Step]:
    return [
        (aten.reshape.default, [-1, groups, channels // groups, rows * columns]),
        (aten.permute.default, [0, 2, 1, 3]),
    ]


def _pixel(factor: int, channels: int, rows: int, columns: int) -> list[Step]:
    return [
        (aten.reshape.default, [-1, factor, rows, columns]),
        (aten.permute.default, [0, 2, 3, 1]),
        (aten.reshape.default, [-1, factor, rows, columns * factor]),
        (aten.permute.default, [0, 2, 1, 3]),
    ]


def _unpixel(factor: int, channels: int, rows: int, columns: int) -> list[Step]:
    rows, columns = rows // factor, columns // factor
    return [
        (aten.reshape.default, [-1, rows, factor, columns * factor]),
        (aten.permute.default, [0, 2, 1, 3]),
        (aten.reshape.default, [-1, rows, columns, factor]),
        (aten.permute.default, [0, 3, 1, 2]),
    ]


STEPS: dict[Any, Callable[[int, int, int, int], list[Step]]] = {
    aten.channel_shuffle.default: _channel,
    aten.pixel_shuffle.default: _pixel,
    aten.pixel_unshuffle.default: _unpixel,
}


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *STEPS):
        return False
    shape = node.all_input_nodes[0].meta["val"].shape
    return len(shape) == 4 and all(isinstance(size, int) for size in shape[1:])


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    result = node.all_input_nodes[0]
    count = argument(node, 1, "groups", argument(node, 1, "upscale_factor"))
    for target, sizes in STEPS[node.target](count, *result.meta["val"].shape[1:]):
        result = build(node, target, result, sizes)
    last = build(node, aten.reshape.default, result, static_shape(node.meta["val"]))
    substitute(node, last)


RULE = Rewrite("shuffle to transpose", match, rewrite)
