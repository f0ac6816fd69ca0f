"""Conv and ConvTranspose on (N, C, H, W)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from deployq.graph.onnx_import.arguments import expect, expect_map
from deployq.graph.onnx_import.node import OnnxNode
from deployq.graph.onnx_import.operators.operator import Operator
from deployq.graph.onnx_import.operators.windows import pad_map, read_window


def conv(node: OnnxNode, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv-1 to 22; pads that differ between sides become a Pad of zeros."""
    expect_map(node, x)
    window = read_window(node, x, weight.shape[2:])
    padding = window.begins
    if not window.symmetric:
        x, padding = pad_map(x, window), (0, 0)
    groups = node.get("group", 1)
    return F.conv2d(x, weight, bias, window.strides, padding, window.dilations, groups)


def conv_transpose(node: OnnxNode, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """ConvTranspose-1 to 22; pads crop the result.

    size = stride·(n - 1) + output_padding + dilation·(k - 1) + 1 - begin - end
    """
    expect_map(node, x)
    mode = node.get("auto_pad", "NOTSET") or "NOTSET"
    stated = "output_shape" if node.get("output_shape") else mode
    expect(
        node,
        stated in ("NOTSET", "VALID"),
        "ConvTranspose states its pads",
        stated,
        "pads and output_padding",
        "write the pads as numbers",
    )
    top, left, bottom, right = node.get("pads", (0, 0, 0, 0)) if mode == "NOTSET" else (0,) * 4
    extra = tuple(node.get("output_padding", (0, 0)))
    strides, dilations = tuple(node.get("strides", (1, 1))), tuple(node.get("dilations", (1, 1)))
    groups = node.get("group", 1)
    if (top, left) == (bottom, right):
        return F.conv_transpose2d(x, weight, bias, strides, (top, left), extra, groups, dilations)
    y = F.conv_transpose2d(x, weight, bias, strides, 0, extra, groups, dilations)
    return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


OPERATORS = {"Conv": Operator(conv), "ConvTranspose": Operator(conv_transpose)}
