"""Maxima that come with their places, of which nobody reads these."""

from __future__ import annotations

import operator

from torch import fx

from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.rule import calls, replace


def only_values(node: fx.Node) -> bool:
    """True for a call that returns values and indices, of which none is read."""
    return all(calls(user, operator.getitem) and user.args[1] == 0 for user in node.users)


def values_alone(node: fx.Node) -> fx.Node:
    """One node in the place of such a call."""
    value = node.meta["val"][0]
    users = list(node.users)
    alone = replace(node, aten.alias.default, (node.args[0],))
    alone.meta["val"] = value
    for user in users:
        user.replace_all_uses_with(alone)
        node.graph.erase_node(user)
    return alone
