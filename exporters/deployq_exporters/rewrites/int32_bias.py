"""A bias as reals, or as codes of another type or scale, becomes int32 codes on ``s_x s_w``.

    Conv(x, w, b)                          ->  Conv(x, w, DequantizeLinear(int32 codes, s_x s_w))
    Conv(x, w, DequantizeLinear(int8 q, s))    with s = s_x s_w 2**k: codes q << k

so ConvTranspose and Gemm. ONNX Runtime's integer kernels take no other bias. The reals are the
same, but those of a bias on a scale of its own: they become the nearest steps. A bias that 32 bits
do not hold stays as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.rule import (
    Rewrite,
    constant,
    initializer_array,
    producer_of,
    remove_unread,
)

OPERATORS = ("Conv", "ConvTranspose", "Gemm")

MOST = (1 << 31) - 1


def match(node: ir.Node) -> bool:
    if node.op_type not in OPERATORS or len(node.inputs) < 3:
        return False
    if any(_dequantize(value) is None for value in node.inputs[:2]):
        return False
    maker = _dequantize(node.inputs[2])
    stored = initializer_array(node.inputs[2] if maker is None else maker.inputs[0])
    if stored is None or np.abs(_steps(node, stored)).max(initial=0) > MOST:
        return False
    plain = maker is not None and np.array_equal(_scale(node.inputs[2]), _product_scale(node))
    return not plain or stored.dtype != np.int32


def _product_scale(node: ir.Node) -> Any:
    """``s_x s_w``, float32."""
    return np.asarray(_scale(node.inputs[0]) * _scale(node.inputs[1]), np.float32)


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    scale = _product_scale(node)
    bias, maker = node.inputs[2], _dequantize(node.inputs[2])
    stored = initializer_array(bias if maker is None else maker.inputs[0])
    assert bias is not None and stored is not None
    name = str(bias.name) if maker is None else str(maker.name).removesuffix(".dequantize")
    _replace(graph, node, name, _steps(node, stored), scale)


def _steps(node: ir.Node, stored: Any) -> Any:
    """The bias in whole steps of ``s_x s_w``, float64."""
    step = 1.0 if _dequantize(node.inputs[2]) is None else _scale(node.inputs[2])
    reals = stored * np.asarray(step, np.float64)
    return np.rint(reals / _product_scale(node).astype(np.float64))


def _replace(graph: ir.Graph, node: ir.Node, name: str, codes: Any, scale: Any) -> None:
    zero = np.zeros_like(scale)
    inputs = [
        constant(graph, f"{name}.{part}.int32", data, kind)
        for part, data, kind in (
            ("codes", codes, ir.DataType.INT32),
            ("scale", scale, ir.DataType.FLOAT),
            ("zero_point", zero, ir.DataType.INT32),
        )
    ]
    attributes = {"axis": 0} if scale.ndim else {}
    made = ir.node("DequantizeLinear", inputs, attributes, name=f"{name}.dequantize.int32")
    reals = made.outputs[0]
    reals.name, reals.type = f"{name}.dequantized.int32", ir.TensorType(ir.DataType.FLOAT)
    reals.shape = ir.Shape(np.shape(codes))
    graph.insert_before(node, made)
    before = _dequantize(node.inputs[2])
    node.replace_input_with(2, reals)
    if before is not None:
        remove_unread(graph, before)


def _dequantize(value: ir.Value | None) -> ir.Node | None:
    return producer_of(value, "DequantizeLinear")


def _scale(value: ir.Value | None) -> Any:
    """The scale that a tensor was read with, float32."""
    maker = _dequantize(value)
    assert maker is not None
    return initializer_array(maker.inputs[1])


RULE = Rewrite("int32 bias", match, rewrite)
