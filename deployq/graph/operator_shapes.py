"""The shape of one operator of a captured graph, in the words that ``[[op]]`` entries use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx

from deployq.errors import UnsupportedError
from deployq.graph.conv_geometry import conv_geometry, conv_input
from deployq.graph.operators import aten, is_linear
from deployq.graph.rewrites.rule import argument, calls
from deployq_targets.operator_shape import Extent, OperatorShape

CONVOLUTIONS = (aten.conv2d.default, aten.conv_transpose2d.input)


def operator_shape(node: fx.Node) -> OperatorShape:
    """The shape of a call. A pad that a convolution takes over counts to the convolution.

    Raises:
        UnsupportedError: an extent beside the batch is not known.
    """
    window: dict[str, Any] = {}
    if calls(node, *CONVOLUTIONS):
        geometry, weight = conv_geometry(node), argument(node, 1, "weight").meta["val"]
        window = {
            "kernel": tuple(weight.shape[2:]), "strides": geometry.strides,
            "dilations": geometry.dilations, "pads": geometry.pads,
        }  # fmt: skip
        sources = [conv_input(node)]
    else:
        sources = [source for source in node.all_input_nodes if source.op != "get_attr"]
    made = _shape(node)
    read = [shape for shape in map(_shape, sources) if shape is not None]
    assert made is not None
    channels_last = is_linear(node) and not calls(node, *CONVOLUTIONS)
    inputs = tuple(_extent(shape, channels_last) for shape in read)
    if calls(node, aten.max_pool2d.default, aten.avg_pool2d.default):
        window = _pool(node)
    elif calls(node, aten.adaptive_avg_pool2d.default):
        window = {"kernel": (inputs[0].h, inputs[0].w)}
    dims = tuple(extent for shape in (*read, made) for extent in shape)
    return OperatorShape(inputs, _extent(made, channels_last), dims, **window)


def _pool(node: fx.Node) -> dict[str, Any]:
    kernel = _pair(argument(node, 1, "kernel_size"))
    strides = argument(node, 2, "stride") or kernel  # ATen: none is as long as the kernel
    rows, columns = _pair(argument(node, 3, "padding", 0))
    dilations = argument(node, 4, "dilation", 1) if calls(node, aten.max_pool2d.default) else 1
    return {
        "kernel": kernel, "strides": _pair(strides), "dilations": _pair(dilations),
        "pads": (rows, columns, rows, columns),
    }  # fmt: skip


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return (values[0], values[-1])


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    """Extents without the batch; None for what is no tensor."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    extents = tuple(value.shape[1:])
    if not all(isinstance(extent, int) for extent in extents):
        raise UnsupportedError(
            str(node.meta["name"]),
            "limits on the shape of an operator need known extents",
            found=f"({', '.join(map(str, value.shape))})",
            allowed="a free batch, as the first dimension, and numbers",
            next_step="capture the network with fixed sizes",
        )
    return extents


def _extent(shape: tuple[int, ...], channels_last: bool) -> Extent:
    """Of (C, H, W), (C, L) and (C,), or (..., C) of fully connected layers; a tail is width."""
    if channels_last and shape:
        shape = (shape[-1], *shape[:-1])
    c, *rest = shape or (1,)
    h, tail = (rest[0], rest[1:]) if len(rest) > 1 else (1, rest)
    width = 1
    for extent in tail:
        width *= extent
    return Extent(c, h, width)
