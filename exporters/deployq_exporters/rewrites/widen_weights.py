"""Weights under 8 bits move into bytes where the products are of codes; not one code changes.

    Conv(x, DequantizeLinear(INT4 codes))                         ->  INT8 codes
    MatMul(DequantizeLinear(q), DequantizeLinear(INT4 codes))     ->  INT8 codes
    MatMul(reals, DequantizeLinear(INT4 codes))                       stays: weight-only

TensorRT multiplies int8 by int8; INT4 is a storage of weights beside activations in reals, and of
matrix products alone. Its parser takes no narrower type, so 2-bit codes always move.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, initializer_array, producer_of
from deployq_exporters.rewrites.widen_containers import WIDER, widen

MATRIX_PRODUCTS = ("MatMul", "Gemm")


def match(node: ir.Node) -> bool:
    stored = node.inputs[0] if node.op_type == "DequantizeLinear" else None
    if stored is None or stored.dtype not in WIDER or initializer_array(stored) is None:
        return False
    readers = [user for user, _ in node.outputs[0].uses()]
    return stored.dtype is not ir.DataType.INT4 or not all(map(_is_weight_only, readers))


def _is_weight_only(reader: ir.Node) -> bool:
    on_codes = producer_of(reader.inputs[0], "DequantizeLinear") is not None
    return reader.op_type in MATRIX_PRODUCTS and not on_codes


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    for value in node.inputs:
        if value is not None and value.dtype in WIDER:
            widen(value)


RULE = Rewrite("widen weights", match, rewrite)
