"""The maximum over one axis, or over a map, becomes a pool of maps: MaxPool computes on codes.

    amax(x (N, C, H, W), (2, 3))    becomes    flatten(max_pool2d(x, (H, W)), 1)
    amax(x (N, C, L), 2)            becomes    flatten(max_pool2d(unsqueeze(x, 2), (1, L)), 1)
    amax(x (N, L, C), 1)            becomes    the same of transpose(x, 1, 2)
    max(x, axis)[0]                 becomes    the same, where nobody reads the indices

The greatest of some numbers has the greatest of their codes. VOLO takes the maximum over tokens,
CBAM over channels.
"""

from __future__ import annotations

import operator

from torch import fx

from deployq.graph.rewrites.build import aten, build
from deployq.graph.rewrites.rule import Rewrite, argument, calls

COLUMNS = 3
"""The last axis of maps (N, C, H, W)."""


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.amax.default, aten.max.dim):
        return False
    x = node.all_input_nodes[0].meta["val"]
    known = all(isinstance(size, int) for size in x.shape[1:])
    if not known or x.ndim not in (3, 4) or not x.is_floating_point():
        return False
    axes = _axes(node)
    if calls(node, aten.max.dim) and not all(_is_value(user) for user in node.users):
        return False
    return axes == [2, 3] or (len(axes) == 1 and axes != [0])


def _axes(node: fx.Node) -> list[int]:
    """Without their signs, in order."""
    dims, rank = argument(node, 1, "dim", []), node.all_input_nodes[0].meta["val"].ndim
    return sorted(dim % rank for dim in ([dims] if isinstance(dims, int) else dims))


def _is_value(user: fx.Node) -> bool:
    """True for the first of values and indices."""
    return calls(user, operator.getitem) and bool(user.args[1] == 0)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    axes, keeps = _axes(node), bool(argument(node, 2, "keepdim", False))
    results = list(node.users) if calls(node, aten.max.dim) else [node]
    x = node.all_input_nodes[0]
    if axes == [2, 3]:
        pool = build(node, aten.max_pool2d.default, x, list(x.meta["val"].shape[2:]))
        result = pool if keeps else build(node, aten.flatten.using_ints, pool, 1)
    else:
        result = _of_rows(node, x, axes[0], keeps)
    for reader in results:
        reader.replace_all_uses_with(result)
        if reader is not node:
            node.graph.erase_node(reader)
    node.graph.erase_node(node)


def _of_rows(node: fx.Node, x: fx.Node, axis: int, keeps: bool) -> fx.Node:
    """The axis is the last one while the pool runs."""
    rank = x.meta["val"].ndim
    last = [*(i for i in range(rank) if i != axis), axis]
    maps = build(node, aten.permute.default, x, last) if axis != rank - 1 else x
    if rank == COLUMNS:
        maps = build(node, aten.unsqueeze.default, maps, 2)
        maps.meta["part"] = "maps"
    pool = build(node, aten.max_pool2d.default, maps, [1, maps.meta["val"].shape[COLUMNS]])
    if rank == COLUMNS:
        pool = build(node, aten.squeeze.dim, pool, 2)
        pool.meta["part"] = "row"
    if not keeps:
        return build(node, aten.squeeze.dim, pool, rank - 1)
    back = [last.index(i) for i in range(rank)]
    return build(node, aten.permute.default, pool, back) if axis != rank - 1 else pool


RULE = Rewrite("maximum to pool", match, rewrite)
