"""conv2d(x, w, padding="valid") becomes padding 0, padding="same" the same cells on both sides.

An even kernel pads one side more than the other under "same": such a call stays as it is.
"""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, argument, calls, replace

aten = torch.ops.aten


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, aten.conv2d.padding) and all(cells % 2 == 0 for cells in _cells(node))


def _cells(node: fx.Node) -> list[int]:
    """Padding of both sides together, for rows and columns."""
    kernel = argument(node, 1, "weight").meta["val"].shape[2:]
    if argument(node, 4, "padding", "valid") == "valid":
        return [0, 0]
    dilation = argument(node, 5, "dilation", [1, 1])
    return [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    stride, dilation = argument(node, 3, "stride", [1, 1]), argument(node, 5, "dilation", [1, 1])
    pads = [cells // 2 for cells in _cells(node)]
    groups = argument(node, 6, "groups", 1)
    bias = argument(node, 2, "bias")
    replace(node, aten.conv2d.default, (*node.args[:2], bias, stride, pads, dilation, groups))


RULE = Rewrite("conv padding to numbers", match, rewrite)
