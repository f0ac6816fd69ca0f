"""repeat_interleave(x, n, axis) becomes index_select: codes that move.

    repeat_interleave((N, H, T, C), 3, 1)    becomes    index_select(x, 1, [0, 0, 0, 1, 1, 1, ...])
    repeat_interleave((N, T, C), 3, 0)       becomes    index_select of an axis of one behind the
                                                        samples, which a reshape merges with them

Queries that all windows of a picture share are repeated along the samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.graph.rewrites.build import aten, build, pick_rows, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.repeat_interleave.self_int) or argument(node, 2, "dim") is None:
        return False
    source: Any = node.args[0]
    sizes = source.meta["val"].shape
    return isinstance(_repeats(node), int) and all(isinstance(size, int) for size in sizes[1:])


def _repeats(node: fx.Node) -> Any:
    return argument(node, 1, "repeats")


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    source: Any = node.args[0]
    value, repeats = source.meta["val"], int(_repeats(node))
    axis = int(argument(node, 2, "dim")) % value.ndim
    if isinstance(value.shape[axis], int):
        rows = torch.arange(value.shape[axis]).repeat_interleave(repeats)
        substitute(node, pick_rows(module, node, source, axis, rows, f"{node.name}_rows"))
        return
    single = build(node, aten.unsqueeze.default, source, axis + 1)
    single.meta["part"] = "axis"
    rows = torch.zeros(repeats, dtype=torch.int64)
    many = pick_rows(module, node, single, axis + 1, rows, f"{node.name}_rows")
    many.meta["part"] = "repeat"
    substitute(node, build(node, aten.reshape.default, many, [-1, *value.shape[1:]]))


RULE = Rewrite("repeat to gather", match, rewrite)
