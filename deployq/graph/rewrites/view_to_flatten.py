"""view(x, [x.size(0), -1]) and reshape(x, [x.size(0), -1]) become flatten(x, 1).

The batch size then needs no node of its own, and the file stays free of shape arithmetic.
"""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, calls, replace

aten = torch.ops.aten
RESHAPES = (
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
    aten.unflatten.int,
    aten.reshape_as.default,
    aten.view_as.default,
)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *RESHAPES):
        return False
    before, after = node.all_input_nodes[0].meta["val"].shape, node.meta["val"].shape
    # as many elements a row as before: then the rows are the batch
    return len(before) > 1 and len(after) == 2 and bool(before[1:].numel() == after[1])


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    replace(node, aten.flatten.using_ints, (node.args[0], 1))


RULE = Rewrite("view to flatten", match, rewrite)
