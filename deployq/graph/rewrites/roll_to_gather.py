"""roll(x, shifts, axes) becomes index_select along each axis: a choice of rows, which moves codes.

Windows are shifted in this way; slices and a Concat would do the same in three nodes an axis.
"""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.build import aten, pick_rows, substitute
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
        name, rank = f"{node.name}_rows_{number}", node.meta["val"].ndim
        rolled = pick_rows(module, node, rolled, axis % rank, chosen, name)
    substitute(node, rolled)


RULE = Rewrite("roll to gather", match, rewrite)
