"""What an ``aten.conv2d`` call says: geometry, and zeros that a pad before it adds."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.arithmetic.geometry import ConvGeometry
from deployq.graph.rewrites.rule import argument, calls

aten = torch.ops.aten


def conv_geometry(node: fx.Node) -> ConvGeometry:
    """Strides, pads, dilations and groups; a pad before the convolution counts to its own."""

    def pair(index: int, name: str, default: int) -> tuple[int, int]:
        value = argument(node, index, name, default)
        values = (value, value) if isinstance(value, int) else tuple(value)
        return values if len(values) == 2 else (values[0], values[0])

    rows, columns = pair(4, "padding", 0)
    top, left, bottom, right = _zeros(node)
    pads = (top + rows, left + columns, bottom + rows, right + columns)
    groups = argument(node, 6, "groups", 1)
    return ConvGeometry(pair(3, "stride", 1), pads, pair(5, "dilation", 1), groups)


def conv_input(node: fx.Node) -> fx.Node:
    """What the convolution reads; with a pad before it, what the pad reads."""
    source: Any = argument(node, 0, "input")
    result: fx.Node = source.all_input_nodes[0] if _adds_zeros(source) else source
    return result


def _zeros(node: fx.Node) -> tuple[int, int, int, int]:
    """Zeros that a pad adds: top, left, bottom, right."""
    source: Any = argument(node, 0, "input")
    if not _adds_zeros(source):
        return 0, 0, 0, 0
    left, right, top, bottom = source.args[1]
    return top, left, bottom, right


def _adds_zeros(node: fx.Node) -> bool:
    """True for a pad of rows and columns by zeros; a negative pad crops."""
    if not calls(node, aten.pad.default):
        return False
    amounts: Any = node.args[1]
    constant = argument(node, 2, "mode", "constant") == "constant" and not argument(
        node, 3, "value"
    )
    return constant and len(amounts) == 4 and min(amounts) >= 0
