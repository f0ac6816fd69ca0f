"""A bias in codes becomes the reals that the codes stand for.

    Conv(x, w, DequantizeLinear(codes, s_b))        ->  Conv(x, w, float32(codes * s_b))
    Add(MatMul(x, w), DequantizeLinear(codes, s_b)) ->  Add(MatMul(x, w), float32(codes * s_b))

so ConvTranspose and Gemm. TensorRT's parser takes no DequantizeLinear of int32. The reals are those
that the DequantizeLinear computes, by ``deployq.affine``, never the bias before it was quantized.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from deployq.affine import dequantize
from deployq.qparams import PerChannel, PerTensor, QParams
from deployq.qtypes import QType
from deployq_exporters.rewrites.rule import Rewrite, constant, initializer_array, producer_of

WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")
BITS = {
    ir.DataType.INT8: 8, ir.DataType.INT16: 16, ir.DataType.INT32: 32,
}  # fmt: skip


def match(node: ir.Node) -> bool:
    if node.op_type != "DequantizeLinear" or initializer_array(node.inputs[0]) is None:
        return False
    stored = node.inputs[0]
    uses = list(node.outputs[0].uses())
    return (
        stored is not None
        and stored.dtype in BITS
        and bool(uses)
        and all(_is_bias(user, index) for user, index in uses)
    )


def _is_bias(reader: ir.Node, index: int) -> bool:
    if reader.op_type in WITH_BIAS:
        return index == 2
    other = reader.inputs[1 - index] if reader.op_type == "Add" else None
    return producer_of(other, "MatMul") is not None


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    before = node.outputs[0]
    name = str(node.name).removesuffix(".dequantize")
    made = constant(graph, f"{name}.reals", _reals(node), ir.DataType.FLOAT)
    ir.convenience.replace_all_uses_with(before, made)
    graph.remove(node, safe=True)


def _reals(node: ir.Node) -> Any:
    stored = node.inputs[0]
    assert stored is not None and stored.dtype is not None
    codes, scale = initializer_array(stored), initializer_array(node.inputs[1])
    assert codes is not None and scale is not None
    zero_point = initializer_array(node.inputs[2]) if len(node.inputs) > 2 else None
    zeros = np.zeros(scale.shape) if zero_point is None else zero_point
    axis = node.attributes.get_int("axis", 1) if scale.ndim else 0
    granularity = PerChannel(axis % codes.ndim) if scale.ndim else PerTensor()
    qtype = QType(BITS[stored.dtype], True)
    params = QParams(qtype, scale, zeros.astype(np.int64), granularity)
    return dequantize(codes.astype(np.int64), params)


RULE = Rewrite("float bias", match, rewrite)
