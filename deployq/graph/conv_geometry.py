"""An ``aten.conv2d`` or ``aten.conv_transpose2d`` call: its window, and the zeros before it."""

from __future__ import annotations

from typing import Any

from torch import fx

from deployq.arithmetic.geometry import ConvGeometry, ConvTransposeGeometry, Pair
from deployq.graph.operators import aten
from deployq.graph.rewrites.rule import argument, calls


def conv_geometry(node: fx.Node) -> ConvGeometry:
    """Strides, pads, dilations, groups and, of a transposed convolution, output padding.

    The zeros that a pad before a convolution adds count to its own.
    """
    strides = _pair(argument(node, 3, "stride", 1))
    rows, columns = _pair(argument(node, 4, "padding", 0))
    groups = argument(node, 6, "groups", 1)
    if calls(node, aten.conv_transpose2d.input):
        pads = (rows, columns, rows, columns)
        extra = _pair(argument(node, 5, "output_padding", 0))
        dilations = _pair(argument(node, 7, "dilation", 1))
        return ConvTransposeGeometry(strides, pads, dilations, groups, extra)
    top, left, bottom, right = _zeros(node)
    pads = (top + rows, left + columns, bottom + rows, right + columns)
    return ConvGeometry(strides, pads, _pair(argument(node, 5, "dilation", 1)), groups)


def _pair(value: Any) -> Pair:
    values = (value, value) if isinstance(value, int) else tuple(value)
    return (values[0], values[-1])


def conv_input(node: fx.Node) -> fx.Node:
    """What a linear call reads; a convolution behind a pad by zeros, what the pad reads."""
    source: Any = argument(node, 0, "input")
    result: fx.Node = source.all_input_nodes[0] if any(_zeros(node)) else source
    return result


def _zeros(node: fx.Node) -> tuple[int, int, int, int]:
    """Zeros that a pad before a convolution adds: top, left, bottom, right."""
    source: Any = argument(node, 0, "input")
    if not calls(node, aten.conv2d.default) or not _adds_zeros(source):
        return 0, 0, 0, 0
    left, right, top, bottom = source.args[1]
    return top, left, bottom, right


def _adds_zeros(node: fx.Node) -> bool:
    """True for a pad of rows and columns by zeros; a negative pad crops."""
    if not calls(node, aten.pad.default):
        return False
    amounts: Any = node.args[1]
    mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value")
    return mode == "constant" and not value and len(amounts) == 4 and min(amounts) >= 0
