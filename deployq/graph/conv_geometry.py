"""The window of an ``aten.conv2d`` or ``aten.conv_transpose2d`` call."""

from __future__ import annotations

from typing import Any

from torch import fx

from deployq.arithmetic.geometry import ConvGeometry, ConvTransposeGeometry, Pair
from deployq.graph.operators import aten
from deployq.graph.rewrites.rule import argument, calls


def conv_geometry(node: fx.Node) -> ConvGeometry:
    """Strides, pads, dilations, groups and, of a transposed convolution, output padding."""
    strides = _pair(argument(node, 3, "stride", 1))
    top, left = _pair(argument(node, 4, "padding", 0))
    pads, groups = (top, left, top, left), argument(node, 6, "groups", 1)
    if calls(node, aten.conv_transpose2d.input):
        extra = _pair(argument(node, 5, "output_padding", 0))
        dilations = _pair(argument(node, 7, "dilation", 1))
        return ConvTransposeGeometry(strides, pads, dilations, groups, extra)
    return ConvGeometry(strides, pads, _pair(argument(node, 5, "dilation", 1)), groups)


def _pair(value: Any) -> Pair:
    values = (value, value) if isinstance(value, int) else tuple(value)
    return (values[0], values[-1])
