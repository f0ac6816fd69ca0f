"""type_as(x, y), x.to(y) and the like become to(x, dtype), where they change the type."""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.remove_cast import CASTS
from deployq.graph.rewrites.rule import Rewrite, calls, replace


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    plain = calls(node, aten.to.dtype) and len(node.args) == 2 and not node.kwargs
    return calls(node, *CASTS) and not plain


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    replace(node, aten.to.dtype, (node.args[0], node.meta["val"].dtype))


RULE = Rewrite("one cast", match, rewrite)
