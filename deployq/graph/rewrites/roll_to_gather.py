"""roll(x, shifts, axes) becomes index_select along each axis: a choice of rows, which moves codes.

Windows are shifted in this way; slices and a Concat would do the same in three nodes an axis.
"""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.build import aten, new_tensor, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.roll.default) or not argument(node, 2, "dims", []):
        return False
    shape = node.meta["val"].shape
    return all(isinstance(shape[axis], int) for axis in argument(node, 2, "dims"))


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    shifts, axes = argument(node, 1, "shifts"), argument(node, 2, "dims")
    rolled = node.all_input_nodes[0]
    for number, (shift, axis) in enumerate(zip(shifts, axes, strict=True)):
        length = int(node.meta["val"].shape[axis])
        chosen = (torch.arange(length) - shift) % length
        rows = new_tensor(module, node, f"{node.name}_rows_{number}", chosen)
        rank = node.meta["val"].ndim
        with node.graph.inserting_before(node):
            args = (rolled, axis % rank, rows)
            rolled = node.graph.call_function(aten.index_select.default, args)
        rolled.meta = dict(node.meta)
    substitute(node, rolled)


RULE = Rewrite("roll to gather", match, rewrite)
