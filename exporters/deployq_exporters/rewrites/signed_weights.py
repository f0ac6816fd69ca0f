"""Weight codes around a zero point become signed codes around 0: ``q - z``, the same reals.

    DequantizeLinear(uint8 q, s, z)   ->   DequantizeLinear(int8 q - z, s, 0)

OpenVINO's integer kernels take no other weights; it runs the rest in float. Weights with a channel
whose ``q - z`` leaves 8 bits stay as they are, as do those with a scale for each block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from deployq.qgraph.floats import PRODUCTS
from deployq_exporters.rewrites.rule import Rewrite, constant, initializer_array

CONTAINERS = (ir.DataType.INT8, ir.DataType.UINT8)
LOWEST, HIGHEST = -128, 127


def match(node: ir.Node) -> bool:
    if node.op_type != "DequantizeLinear" or not _is_weight(node):
        return False
    moved = _moved(node)
    if moved is None or moved.min(initial=0) < LOWEST or moved.max(initial=0) > HIGHEST:
        return False
    zero_point = _zero_point(node)
    return _dtype(node) is not ir.DataType.INT8 or bool(np.any(zero_point))


def _is_weight(node: ir.Node) -> bool:
    uses = list(node.outputs[0].uses())
    products = all(user.op_type in PRODUCTS and index == 1 for user, index in uses)
    return bool(uses) and products and _dtype(node) in CONTAINERS


def _dtype(node: ir.Node) -> ir.DataType | None:
    codes = node.inputs[0]
    return None if codes is None else codes.dtype


def _zero_point(node: ir.Node) -> Any:
    """In the shape that the codes take it in; 0 where the node states none."""
    stated = initializer_array(node.inputs[2]) if len(node.inputs) > 2 else np.zeros((), np.int64)
    codes = initializer_array(node.inputs[0])
    if stated is None or codes is None or stated.ndim != 1:
        return stated
    axis = node.attributes.get_int("axis", 1)
    return stated.reshape([-1 if i == axis % codes.ndim else 1 for i in range(codes.ndim)])


def _moved(node: ir.Node) -> Any:
    """``q - z``, int64; None for codes that are computed or lie in blocks."""
    codes, zero_point = initializer_array(node.inputs[0]), _zero_point(node)
    if codes is None or zero_point is None or node.attributes.get_int("block_size"):
        return None
    return codes.astype(np.int64) - zero_point.astype(np.int64)


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    codes, scale = node.inputs[0], initializer_array(node.inputs[1])
    assert codes is not None and scale is not None
    parts = {"signed": _moved(node), "zero_point.signed": np.zeros_like(scale)}
    made = [
        constant(graph, f"{node.name}.{part}", data, ir.DataType.INT8)
        for part, data in parts.items()
    ]
    node.replace_input_with(0, made[0])
    if len(node.inputs) > 2:
        node.replace_input_with(2, made[1])


RULE = Rewrite("signed weights", match, rewrite)
