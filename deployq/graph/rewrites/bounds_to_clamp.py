"""relu6(x) becomes clamp(x, 0, 6); hardtanh(x, a, b) becomes clamp(x, a, b)."""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, argument, calls, replace

aten = torch.ops.aten


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, aten.relu6.default, aten.hardtanh.default)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    low, high = 0.0, 6.0
    if calls(node, aten.hardtanh.default):
        low, high = argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0)
    replace(node, aten.clamp.default, (node.args[0], float(low), float(high)))


RULE = Rewrite("bounds to clamp", match, rewrite)
