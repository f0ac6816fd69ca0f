"""im2col (Unfold) becomes movements: where windows touch, reshapes; where they overlap, slices.

    im2col(x, k, stride=k)    becomes    reshape, permute, reshape
    im2col(x, k)              becomes    one slice of the padded map for each place in the window,
                                         joined behind the channels

Places of a window come behind the channels, row by row, as ``torch.nn.functional.unfold`` has them.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from deployq.graph.rewrites.build import aten, build, static_shape, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls

NUMBERS = ((1, "kernel_size"), (2, "dilation"), (3, "padding"), (4, "stride"))
"""Place and name of the geometry, (rows, columns) each."""


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.im2col.default):
        return False
    shape = node.all_input_nodes[0].meta["val"].shape
    return len(shape) == 4 and all(isinstance(size, int) for size in shape[1:])


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    kernel, dilation, padding, stride = (list(argument(node, i, name)) for i, name in NUMBERS)
    x = node.all_input_nodes[0]
    if any(padding):
        rows, columns = padding
        x = build(node, aten.pad.default, x, [columns, columns, rows, rows])
        x.meta["part"] = "pad"
    touch = stride == kernel and dilation == [1, 1]
    whole = all(size % k == 0 for size, k in zip(x.meta["val"].shape[2:], kernel, strict=True))
    windows = _tiles(node, x, kernel) if touch and whole else _slices(node, x, kernel, dilation)
    substitute(node, build(node, aten.reshape.default, windows, static_shape(node.meta["val"])))


def _tiles(node: fx.Node, x: fx.Node, kernel: list[int]) -> fx.Node:
    """(N, C, kh, kw, H / kh, W / kw)."""
    _, channels, height, width = x.meta["val"].shape
    (kh, kw), sizes = kernel, [height // kernel[0], width // kernel[1]]
    split = build(node, aten.reshape.default, x, [-1, channels, sizes[0], kh, sizes[1], kw])
    return build(node, aten.permute.default, split, [0, 1, 3, 5, 2, 4])


def _slices(node: fx.Node, x: fx.Node, kernel: list[int], dilation: list[int]) -> fx.Node:
    """(N, C, kh kw, rows columns): no more axes than many targets hold."""
    parts: list[Any] = []
    for i in range(kernel[0]):
        row = _taken(node, x, 0, i * dilation[0], kernel, dilation)
        for j in range(kernel[1]):
            cell = _taken(node, row, 1, j * dilation[1], kernel, dilation)
            _, channels, rows, columns = cell.meta["val"].shape
            parts.append(build(node, aten.reshape.default, cell, [-1, channels, 1, rows * columns]))
    with node.graph.inserting_before(node):
        joined = node.graph.call_function(aten.cat.default, (parts, 2))
    values = [part.meta["val"] for part in parts]
    joined.meta = {**node.meta, "val": aten.cat.default(values, 2), "part": "windows"}
    return joined


def _taken(
    node: fx.Node, x: fx.Node, side: int, start: int, kernel: list[int], dilation: list[int]
) -> fx.Node:
    """Every ``stride``-th row (side 0) or column (side 1) from ``start`` on, one a window."""
    step = int(argument(node, 4, "stride")[side])
    reach = dilation[side] * (kernel[side] - 1) + 1
    count = (int(x.meta["val"].shape[2 + side]) - reach) // step + 1
    end = start + step * (count - 1) + 1
    return build(node, aten.slice.Tensor, x, 2 + side, start, end, step)


RULE = Rewrite("windows to concat", match, rewrite)
