"""add(x, expand(y)) and mul(x, expand(y)) become add(x, y) and mul(x, y): both broadcast anyway."""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, calls

aten = torch.ops.aten
EXPANDS = (aten.expand.default, aten.expand_as.default)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *EXPANDS) or not node.users:
        return False
    source = node.all_input_nodes[0].meta["val"]
    same_rank = source.ndim == node.meta["val"].ndim
    return same_rank and all(_broadcasts(user, node) for user in node.users)


def _broadcasts(user: fx.Node, node: fx.Node) -> bool:
    """True when the other operand has the whole shape already."""
    if not calls(user, aten.add.Tensor, aten.mul.Tensor):
        return False
    others = [a for a in user.args if isinstance(a, fx.Node) and a is not node]
    shape = tuple(node.meta["val"].shape)
    return len(others) == 1 and tuple(others[0].meta["val"].shape) == shape


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    node.replace_all_uses_with(node.all_input_nodes[0])
    node.graph.erase_node(node)


RULE = Rewrite("remove expand", match, rewrite)
