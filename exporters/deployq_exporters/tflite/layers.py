"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: s8 weights, one bias for each channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from deployq.qgraph.nodes import Linear
from deployq.qparams import IntArray, PerChannel, PerTensor, QParams
from deployq.qtypes import QType
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.signed import S8
from deployq_exporters.tflite.windows import Window, padded
from deployq_exporters.tflite.writing import Writing

S32 = QType(32, signed=True)
BIASES: dict[int, type[np.signedinteger[Any]]] = {8: np.int32, 16: np.int64}
"""Width of the input's codes to the integers of the bias."""
GROUPED_VERSION, PER_CHANNEL_VERSION = 6, 12
"""Of CONV_2D with groups, of FULLY_CONNECTED with one scale a channel (``op_version.cc``)."""


def write_linear(writing: Writing, node: Linear) -> None:
    """Any weighted layer.

    Raises:
        UnsupportedError: a transposed convolution, weights of another type than s8 or with a zero
            point, a bias beyond 32 bits, or a sum that joins the layer.
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
        raise refuse(node, "the layers of a .tflite file", found=node.op_type, allowed="Conv, Gemm")


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
        weight = _weight(writing, node, node.weight.transpose(1, 2, 3, 0), axis=3)
        writing.emit(
            node, "DEPTHWISE_CONV_2D", [index, weight, _bias(writing, node, outputs)], options
        )
        return
    weight = _weight(writing, node, node.weight.transpose(0, 2, 3, 1), axis=0)
    version = GROUPED_VERSION if geometry.groups > 1 else None
    inputs = [index, weight, _bias(writing, node, outputs)]
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
    weight = _weight(writing, node, node.weight.transpose(), axis=0)
    inputs = [writing.operand(node.inputs[0]), weight, _bias(writing, node, node.weight.shape[1])]
    per_channel = node.weight_qparams.scale.size > 1
    version = PER_CHANNEL_VERSION if per_channel else 5 if options.keepNumDims else None
    writing.emit(node, "FULLY_CONNECTED", inputs, options, version=version)


def _weight(writing: Writing, node: Linear, codes: IntArray, axis: int) -> int:
    """The weights in the file's order of axes; ``axis`` is that of the output channels."""
    qparams = node.weight_qparams
    if isinstance(qparams.granularity, PerChannel):
        qparams = replace(qparams, granularity=PerChannel(axis))
    return writing.file.constant(f"{node.output}.weight", codes.astype(np.int8), qparams)


def _bias(writing: Writing, node: Linear, outputs: int) -> int:
    """Codes of scale ``s_x * s_w``, zeros where the layer has none."""
    codes = np.zeros(outputs, np.int64) if node.bias is None else node.bias
    x = writing.qparams(node.inputs[0])
    kind = BIASES[x.qtype.bits]
    if kind is np.int32 and int(np.abs(codes).max(initial=0)) > S32.qmax:
        raise refuse(
            node,
            "the bias of a layer of 8-bit codes has 32 bits",
            found=f"a code of magnitude {np.abs(codes).max()}",
            allowed=str(S32),
            next_step="raise the scale of this layer's weights",
        )
    scale = x.scale * node.weight_qparams.scale
    granularity = PerChannel(0) if scale.ndim else PerTensor()
    qparams = QParams(S32, scale, granularity=granularity)
    return writing.file.constant(f"{node.output}.bias", codes.astype(kind), qparams)


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
