"""interpolate with mode nearest or nearest-exact becomes slices and one upsample to fixed sizes.

    every s-th cell (scale 1/s)      ->  slice with step s
    cell floor(i length / size)      ->  upsample_nearest2d(x, [rows, columns])

Which cells a call takes is asked of torch itself, because it computes them in float32; a call whose
cells are neither is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.arithmetic.oracle.resize import nearest_index
from deployq.errors import UnsupportedError
from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.rule import Rewrite, calls
from deployq.qgraph.resizing import float32_agrees

NEAREST = (
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest2d.default,
    aten._upsample_nearest_exact2d.vec,
    aten._upsample_nearest_exact2d.default,
)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, *NEAREST)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    source = node.all_input_nodes[0]
    result, sizes = source, []
    for axis, cells in zip((2, 3), _cells(node, source), strict=True):
        step = cells[1] - cells[0] if len(cells) > 1 else 1
        if step > 1 and cells == list(range(cells[0], cells[-1] + 1, step)):
            result = build(node, aten.slice.Tensor, result, axis, cells[0], cells[-1] + 1, step)
        elif not _is_floor(cells, source.meta["val"].shape[axis]):
            length = source.meta["val"].shape[axis]
            raise _refusal(node, f"{len(cells)} cells from {length} along axis {axis}")
        sizes.append(len(cells))
    if sizes != list(result.meta["val"].shape[2:]):
        with node.graph.inserting_before(node):  # its shape is the node's; to ask fixes the batch
            result = node.graph.call_function(aten.upsample_nearest2d.vec, (result, sizes, None))
    if result is source:
        node.replace_all_uses_with(source)
        node.graph.erase_node(node)
    else:
        substitute(node, result)


def _cells(node: fx.Node, source: fx.Node) -> list[list[int]]:
    """The input rows and the input columns that the call takes."""
    shape: Any = source.meta["val"].shape
    if not all(isinstance(s, int) for s in (*shape[2:], *node.meta["val"].shape[2:])):
        raise _refusal(node, f"an output of {tuple(node.meta['val'].shape)}, not known before")
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in shape[2:])
    assert callable(node.target)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
    taken = node.target(grid, *node.args[1:], **node.kwargs)
    return [taken[0, 0, :, 0].long().tolist(), taken[0, 1, 0, :].long().tolist()]


def _is_floor(cells: list[int], length: int) -> bool:
    size = len(cells)
    return cells == nearest_index(length, size).tolist() and float32_agrees(length, size)


def _refusal(node: fx.Node, found: str) -> UnsupportedError:
    return UnsupportedError(
        str(node.name),
        "a nearest resize has a fixed size, and the same cells in every arithmetic",
        found=found,
        allowed="whole factors, every s-th cell, or floor(i length / size)",
        next_step="resize by a whole factor, or to a fixed size",
    )


RULE = Rewrite("nearest to resize", match, rewrite)
