"""view(x, [x.size(0), -1]) and reshape(x, [x.size(0), -1]) become flatten(x, 1).

The batch size then needs no node of its own, and the file stays free of shape arithmetic.
"""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, calls, replace

aten = torch.ops.aten
RESHAPES = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *RESHAPES):
        return False
    shape = node.args[1]
    if not isinstance(shape, (list, tuple)) or len(shape) != 2 or node.meta["val"].ndim != 2:
        return False
    batch, source = shape[0], node.args[0]
    same_batch = calls(batch, aten.sym_size.int) and batch.args == (source, 0)
    return same_batch or (batch == -1 and isinstance(shape[1], int) and _keeps_batch(node))


def _keeps_batch(node: fx.Node) -> bool:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return bool(source.meta["val"].shape[1:].numel() == node.meta["val"].shape[1])


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    replace(node, aten.flatten.using_ints, (node.args[0], 1))


RULE = Rewrite("view to flatten", match, rewrite)
