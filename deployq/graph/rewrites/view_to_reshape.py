"""view(x, shape) becomes reshape(x, sizes) with -1 for the batch.

The batch size then needs no node of its own, and a view of what a removed ``contiguous`` had laid
out works on every memory layout.
"""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten, static_shape
from deployq.graph.rewrites.rule import Rewrite, calls, replace
from deployq.graph.rewrites.view_to_flatten import RESHAPES


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, *RESHAPES) and static_shape(node.meta["val"]) is not None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    sizes = static_shape(node.meta["val"])
    replace(node, aten.reshape.default, (node.all_input_nodes[0], sizes))


RULE = Rewrite("view to reshape", match, rewrite)
