"""A factor of a mask that no grid can hold beside a score becomes one that a grid can.

    softmax(x + c m), c = -3.4e38    becomes    softmax(x + -1e4 m)

``m`` says 1 for a key that is hidden: its share is 0 in float32 either way. The least float32 is
what many encoders write; integers would have to hold the ratio of its scale to that of a score.
"""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.last_axis_softmax import is_softmax
from deployq.graph.rewrites.rule import Rewrite, calls

LEAST = -1e4
"""Of a mask in reals: its product with 0.01 still leaves no share."""


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.mul.Tensor) or node.kwargs:
        return False
    factor = node.args[1]
    return isinstance(factor, (int, float)) and factor < LEAST and _is_added_to_scores(node)


def _is_added_to_scores(node: fx.Node) -> bool:
    sums = list(node.users)
    joined = bool(sums) and all(calls(user, aten.add.Tensor) for user in sums)
    return joined and all(is_softmax(reader) for user in sums for reader in user.users)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    node.update_arg(1, LEAST)


RULE = Rewrite("mask of numbers", match, rewrite)
