"""contiguous(x), clone(x), alias(x), detach(x) of a constant become x.

So do x[:], x + 0, x * 1 and x / 1.
"""

from __future__ import annotations

import sys

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, argument, calls

aten = torch.ops.aten
IDENTITIES = (
    aten.contiguous.default,
    aten.clone.default,
    aten.alias.default,
    aten.detach.default,
    aten.lift_fresh_copy.default,
)
NEUTRAL = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, *IDENTITIES) or _takes_everything(node) or _changes_nothing(node)


def _changes_nothing(node: fx.Node) -> bool:
    """True for a sum with 0, or a product with 1, of a float tensor."""
    neutral = 0 if calls(node, aten.add.Tensor, aten.sub.Tensor) else 1
    if not calls(node, *NEUTRAL) or node.kwargs or len(node.args) != 2:
        return False
    x, number = node.args
    numeric = isinstance(number, (int, float)) and number == neutral
    return numeric and isinstance(x, fx.Node) and bool(x.meta["val"].is_floating_point())


def _takes_everything(node: fx.Node) -> bool:
    if not calls(node, aten.slice.Tensor):
        return False
    start, end = argument(node, 2, "start") or 0, argument(node, 3, "end", sys.maxsize)
    return start == 0 and end == sys.maxsize and argument(node, 4, "step", 1) == 1


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    node.replace_all_uses_with(node.all_input_nodes[0])
    node.graph.erase_node(node)


RULE = Rewrite("remove identities", match, rewrite)
