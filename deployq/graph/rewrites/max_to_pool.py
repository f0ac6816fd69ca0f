"""The maximum over one axis, or over a map, becomes a pool: MaxPool computes on codes.

    amax(x (N, C, H, W), (2, 3))    becomes    flatten(max_pool2d(x, (H, W)), 1)
    amax(x (N, C, L), 2)            becomes    squeeze(max_pool1d(x, L), 2)
    amax(x (N, L, C), 1)            becomes    the same of x, its axes in another order
    max(x, axis)[0]                 becomes    the same, where nobody reads the indices

The greatest of some numbers has the greatest of their codes. VOLO takes the maximum over tokens,
CBAM over channels.
"""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.rewrites.values_alone import only_values, values_alone


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.amax.default, aten.max.dim):
        return False
    x = node.all_input_nodes[0].meta["val"]
    known = all(isinstance(size, int) for size in x.shape[1:])
    if not known or x.ndim not in (3, 4) or not x.is_floating_point():
        return False
    if calls(node, aten.max.dim) and not only_values(node):
        return False
    axes = _axes(node)
    return axes == [2, 3] or (len(axes) == 1 and axes != [0])


def _axes(node: fx.Node) -> list[int]:
    """Without their signs, in order."""
    dims, rank = argument(node, 1, "dim", []), node.all_input_nodes[0].meta["val"].ndim
    return sorted(dim % rank for dim in ([dims] if isinstance(dims, int) else dims))


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    axes, keeps = _axes(node), bool(argument(node, 2, "keepdim", False))
    if calls(node, aten.max.dim):
        node = values_alone(node)
    x = node.all_input_nodes[0]
    if len(axes) == 1:
        substitute(node, _over_axis(node, x, axes[0], keeps))
        return
    pool = build(node, aten.max_pool2d.default, x, list(x.meta["val"].shape[2:]))
    substitute(node, pool if keeps else build(node, aten.flatten.using_ints, pool, 1))


def _over_axis(node: fx.Node, x: fx.Node, axis: int, keeps: bool) -> fx.Node:
    """The axis is the last one while the pool runs."""
    *others, last = range(x.meta["val"].ndim)
    order = [*(i for i in (*others, last) if i != axis), axis]
    rows = x if axis == last else build(node, aten.permute.default, x, order)
    length = rows.meta["val"].shape[-1]
    if len(others) == 2:
        pool = build(node, aten.max_pool1d.default, rows, [length])
    else:
        pool = build(node, aten.max_pool2d.default, rows, [1, length])
    pool.meta["part"] = "maximum"
    if not keeps:
        return build(node, aten.squeeze.dim, pool, last)
    back = [order.index(i) for i in (*others, last)]
    return pool if axis == last else build(node, aten.permute.default, pool, back)


RULE = Rewrite("maximum to pool", match, rewrite)
