"""expand(x) of a computed tensor becomes index_select of one row many times: codes that move.

    expand((N, H, 1, T, C), (N, H, 3, T, C))    becomes    index_select(x, 2, [0, 0, 0])

Heads of keys and values are shared in this way. Along the samples, an expand stays.
"""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.build import aten, pick_rows, substitute
from deployq.graph.rewrites.rule import Rewrite, calls

EXPANDS = (aten.expand.default, aten.expand_as.default)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *EXPANDS) or node.all_input_nodes[0].op == "get_attr":
        return False
    source = node.all_input_nodes[0].meta["val"]
    if source.ndim != node.meta["val"].ndim or not source.is_floating_point():
        return False
    return all(isinstance(node.meta["val"].shape[axis], int) for axis in _grown(node))


def _grown(node: fx.Node) -> list[int]:
    """Axes that gain rows."""
    before, after = node.all_input_nodes[0].meta["val"].shape, node.meta["val"].shape
    pairs = enumerate(zip(before, after, strict=True))
    return [axis for axis, (b, a) in pairs if isinstance(b, int) and b == 1 and a != 1]


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    result = node.all_input_nodes[0]
    for axis in _grown(node):
        length = int(node.meta["val"].shape[axis])
        first = torch.zeros(length, dtype=torch.int64)
        result = pick_rows(module, node, result, axis, first, f"{node.name}_rows_{axis}")
    if result is node.all_input_nodes[0]:
        node.replace_all_uses_with(result)
        node.graph.erase_node(node)
    else:
        substitute(node, result)


RULE = Rewrite("expand to gather", match, rewrite)
