"""softmax(x, rank - 1) becomes softmax(x, -1): the form that computes on codes, without a shape."""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, argument, calls, replace

aten = torch.ops.aten


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.softmax.int) or argument(node, 2, "dtype") is not None:
        return False
    return bool(argument(node, 1, "dim") == node.all_input_nodes[0].meta["val"].ndim - 1)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    replace(node, aten.softmax.int, (node.all_input_nodes[0], -1))


def is_softmax(node: fx.Node) -> bool:
    """True for a Softmax over the last axis, which has an integer form on a grid."""
    last = calls(node, aten.softmax.int) and argument(node, 1, "dim") == -1
    return bool(last) and argument(node, 2, "dtype") is None


RULE = Rewrite("softmax over the last axis", match, rewrite)
