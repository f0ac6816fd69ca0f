"""x.to(dtype), type_as(x) and the like become x where the type is that of x already."""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.rule import Rewrite, calls

CASTS = (
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.to.device,
    aten.to.other,
    aten.type_as.default,
    aten._to_copy.default,
)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *CASTS):
        return False
    return bool(node.meta["val"].dtype == node.all_input_nodes[0].meta["val"].dtype)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    node.replace_all_uses_with(node.all_input_nodes[0])
    node.graph.erase_node(node)


RULE = Rewrite("remove casts", match, rewrite)
