"""add(x, expand(y)) and mul(x, expand(y)) become add(x, y) and mul(x, y): both broadcast anyway."""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.expand_to_gather import EXPANDS
from deployq.graph.rewrites.rule import Rewrite, calls


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *EXPANDS):
        return False
    same_rank = node.all_input_nodes[0].meta["val"].ndim == node.meta["val"].ndim
    return same_rank and any(_broadcasts(user, node) for user in node.users)


def _broadcasts(user: fx.Node, node: fx.Node) -> bool:
    """True when the other operand is as long along each axis that the expand makes longer."""
    if not calls(user, aten.add.Tensor, aten.mul.Tensor):
        return False
    others = [a for a in user.args if isinstance(a, fx.Node) and a is not node]
    source, made = (n.meta["val"].shape for n in (node.all_input_nodes[0], node))
    if len(others) != 1 or others[0].meta["val"].ndim != len(made):
        return False
    lengths = zip(source, made, others[0].meta["val"].shape, strict=True)
    return all(before == after or after == other for before, after, other in lengths)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    for user in [user for user in node.users if _broadcasts(user, node)]:
        user.replace_input_with(node, node.all_input_nodes[0])


RULE = Rewrite("remove expand", match, rewrite)
