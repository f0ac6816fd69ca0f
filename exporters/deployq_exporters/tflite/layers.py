"""Layers: s8 weights, one bias for each channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from deployq.qgraph.nodes import Linear
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.signed import S8
from deployq_exporters.tflite.stored import stored_bias, stored_weight
from deployq_exporters.tflite.transposed import write_conv_transpose
from deployq_exporters.tflite.windows import Window, padded
from deployq_exporters.tflite.writing import Writing

GROUPED_VERSION, PER_CHANNEL_VERSION = 6, 12
"""Of CONV_2D with groups, of FULLY_CONNECTED with one scale a channel (``op_version.cc``)."""


def write_linear(writing: Writing, node: Linear) -> None:
    """Any weighted layer.

    Raises:
        UnsupportedError: weights of another type than s8 or with a zero point, a bias beyond 32
            bits, a sum that joins the layer, or a transposed convolution that TFLite has not.
    """
    _check_weight(node)
    if node.addend is not None:
        raise refuse(
            node, "a layer of a .tflite file rounds what it computed itself",
            found=f"{node.addend}, which is added before the rounding",
            allowed="codes on both branches of a sum",
            next_step='take a target with graph.residual = "q_both"',
        )  # fmt: skip
    if node.op_type == "Conv":
        _write_conv(writing, node)
    elif node.op_type in ("Gemm", "MatMul"):
        _write_fully_connected(writing, node)
    else:
        write_conv_transpose(writing, node)


def _write_conv(writing: Writing, node: Linear) -> None:
    geometry, schema = node.geometry, writing.file.schema
    outputs, per_group, *kernel = node.weight.shape
    window = Window((kernel[0], kernel[1]), geometry.strides, geometry.pads, geometry.dilations)
    index, padding = padded(writing, node, window)
    depthwise = per_group == 1 and geometry.groups > 1
    options: Any = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = geometry.strides
    options.dilationHFactor, options.dilationWFactor = geometry.dilations
    if depthwise:  # (O, 1, kh, kw) to (1, kh, kw, O)
        options.depthMultiplier = outputs // geometry.groups
        weight = stored_weight(writing, node, node.weight.transpose(1, 2, 3, 0), axis=3)
        writing.emit(
            node, "DEPTHWISE_CONV_2D", [index, weight, stored_bias(writing, node, outputs)], options
        )
        return
    weight = stored_weight(writing, node, node.weight.transpose(0, 2, 3, 1), axis=0)
    version = GROUPED_VERSION if geometry.groups > 1 else None
    inputs = [index, weight, stored_bias(writing, node, outputs)]
    writing.emit(node, "CONV_2D", inputs, options, version=version)


def _write_fully_connected(writing: Writing, node: Linear) -> None:
    rank = len(writing.shapes[node.inputs[0]])
    if rank == 4:
        raise refuse(
            node,
            "a fully connected layer reads rows of up to three axes",
            found=f"shape {writing.shapes[node.inputs[0]]}",
            next_step="reshape its input to two axes before it",
        )
    options = writing.file.schema.FullyConnectedOptionsT()
    options.keepNumDims = rank > 2
    weight = stored_weight(writing, node, node.weight.transpose(), axis=0)
    inputs = [
        writing.operand(node.inputs[0]),
        weight,
        stored_bias(writing, node, node.weight.shape[1]),
    ]
    per_channel = node.weight_qparams.scale.size > 1
    version = PER_CHANNEL_VERSION if per_channel else 5 if options.keepNumDims else None
    writing.emit(node, "FULLY_CONNECTED", inputs, options, version=version)


def _check_weight(node: Linear) -> None:
    qparams = node.weight_qparams
    if replace(qparams.qtype, narrow_range=False) != S8 or qparams.zero_point.any():
        raise refuse(
            node,
            "weights are signed codes of 8 bits with zero point 0",
            found=f"{qparams.qtype}, zero points {np.unique(qparams.zero_point).tolist()[:3]}",
            allowed=f"{S8}, 0",
            next_step="quantize the weights so",
        )
