"""contiguous(x), clone(x), alias(x), detach(x) of a constant and x[:] become x."""

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


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, *IDENTITIES) or _takes_everything(node)


def _takes_everything(node: fx.Node) -> bool:
    if not calls(node, aten.slice.Tensor):
        return False
    start, end = argument(node, 2, "start") or 0, argument(node, 3, "end", sys.maxsize)
    return start == 0 and end == sys.maxsize and argument(node, 4, "step", 1) == 1


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    node.replace_all_uses_with(node.all_input_nodes[0])
    node.graph.erase_node(node)


RULE = Rewrite("remove identities", match, rewrite)
