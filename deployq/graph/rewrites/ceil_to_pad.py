"""Pools that round their size up: the same pool over a map with the missing cells at its end.

max_pool2d(x, ceil_mode=True) -> max_pool2d(pad(x, -inf)); any pool whose size is whole loses the
flag. An average over cells that are not there has windows of several sizes and stays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, argument, calls, replace

aten = torch.ops.aten
POOLS = (aten.max_pool2d.default, aten.avg_pool2d.default)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *POOLS) or node.meta["val"].ndim != 4:
        return False
    average = calls(node, aten.avg_pool2d.default)
    if not argument(node, 4 if average else 5, "ceil_mode", False):
        return False
    return not average or _missing(node) == [0, 0]


def _missing(node: fx.Node) -> list[int]:
    """Rows and columns that the last window reaches beyond the padded map."""
    average = calls(node, aten.avg_pool2d.default)
    kernel = _pair(node.args[1])
    stride = _pair(argument(node, 2, "stride") or node.args[1])
    pad = _pair(argument(node, 3, "padding", 0))
    dilation = [1, 1] if average else _pair(argument(node, 4, "dilation", 1))
    before = node.all_input_nodes[0].meta["val"].shape[2:]
    after = node.meta["val"].shape[2:]
    return [
        max(0, (int(after[i]) - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1
            - int(before[i]) - 2 * pad[i])
        for i in range(2)
    ]  # fmt: skip


def _pair(value: Any) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    rows, columns = _missing(node)
    stride = argument(node, 2, "stride") or node.args[1]
    pad, source = argument(node, 3, "padding", 0), node.args[0]
    if calls(node, aten.avg_pool2d.default):
        rest = [argument(node, 5, "count_include_pad", True), argument(node, 6, "divisor_override")]
        replace(node, node.target, (source, node.args[1], stride, pad, False, *rest))
        return
    if rows or columns:
        source = _padded(node, pad, rows, columns)
        pad = 0
    dilation = argument(node, 4, "dilation", 1)
    replace(node, node.target, (source, node.args[1], stride, pad, dilation, False))


def _padded(node: fx.Node, pad: Any, rows: int, columns: int) -> fx.Node:
    """All of the pool's padding, and the missing cells, as minus infinity."""
    top, left = _pair(pad)
    amounts = [left, left + columns, top, top + rows]
    with node.graph.inserting_before(node):
        call = node.graph.call_function(
            aten.pad.default, (node.args[0], amounts, "constant", float("-inf"))
        )
    value = node.all_input_nodes[0].meta["val"]
    with torch.no_grad():
        shape = (*value.shape[:2], value.shape[2] + 2 * top + rows, value.shape[3] + 2 * left
                 + columns)  # fmt: skip
        call.meta = {**node.meta, "val": value.new_empty(shape), "part": "pad"}
    return call


RULE = Rewrite("ceil mode to padding", match, rewrite)
