"""select(x, dim, i) becomes squeeze(slice(x, dim, i, i + 1), dim): movement that targets list.

An element of the batch stays a select: its number is not known.
"""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.select.int) or not isinstance(argument(node, 2, "index"), int):
        return False
    value = node.all_input_nodes[0].meta["val"]
    return value.is_floating_point() and isinstance(value.shape[argument(node, 1, "dim")], int)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    source = node.all_input_nodes[0]
    axis = argument(node, 1, "dim") % source.meta["val"].ndim
    index = argument(node, 2, "index") % source.meta["val"].shape[axis]
    part = build(node, aten.slice.Tensor, source, axis, index, index + 1)
    substitute(node, build(node, aten.squeeze.dim, part, axis))


RULE = Rewrite("select to slice", match, rewrite)
