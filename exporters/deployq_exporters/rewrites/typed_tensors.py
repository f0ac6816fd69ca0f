"""Initializers and DequantizeLinear nodes of one tensor, in the container of its type.

Every tensor T has initializers of its own, by its name: ``T.scale``, ``T.zero_point`` and, where it
is stored, ``T.codes``; the reals read from them are ``T.dequantized``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from deployq.qparams import IntArray, PerChannel, QParams
from deployq.qtypes import QType
from deployq_exporters.rewrites.rule import constant

CONTAINERS = {
    "s2": ir.DataType.INT2, "u2": ir.DataType.UINT2, "s4": ir.DataType.INT4,
    "u4": ir.DataType.UINT4, "s8": ir.DataType.INT8, "u8": ir.DataType.UINT8,
    "s16": ir.DataType.INT16, "u16": ir.DataType.UINT16, "s32": ir.DataType.INT32,
}  # fmt: skip
"""Name of a container QType to the ONNX element type."""

TYPED = ":typed"
"""Mark of the initializers that are made here.

The trace has initializers of these names, but it merged equal ones, so a name may stand for another
tensor's value. ``strip_trace`` takes the mark off at the end.
"""


def container(qtype: QType) -> ir.DataType:
    """The ONNX element type that holds codes of ``qtype``."""
    return CONTAINERS[qtype.container.name]


def typed_params(
    graph: ir.Graph, tensor: str, qtype: QType, scale: Any, zero_point: Any
) -> tuple[ir.Value, ir.Value]:
    """Scale and zero point of a tensor; Q and DQ of one tensor share them."""
    return (
        _own(graph, f"{tensor}.scale", scale, ir.DataType.FLOAT),
        _own(graph, f"{tensor}.zero_point", zero_point, container(qtype)),
    )


def _own(graph: ir.Graph, name: str, array: Any, dtype: ir.DataType) -> ir.Value:
    marked = f"{name}{TYPED}"
    if marked not in graph.initializers:
        constant(graph, marked, array, dtype)
    return graph.initializers[marked]


def retype(value: ir.Value, name: str, dtype: ir.DataType) -> None:
    value.name = name
    value.type = ir.TensorType(dtype)


def read_stored(
    graph: ir.Graph, before: ir.Node, tensor: str, codes: IntArray, params: QParams
) -> ir.Value:
    """The reals of stored codes: a DequantizeLinear in front of the node that reads them."""
    stored = _own(graph, f"{tensor}.codes", codes, container(params.qtype))
    grid = typed_params(graph, tensor, params.qtype, params.scale, params.zero_point)
    granularity = params.granularity
    attributes = {"axis": granularity.axis} if isinstance(granularity, PerChannel) else {}
    node = ir.node("DequantizeLinear", [stored, *grid], attributes, name=f"{tensor}.dequantize")
    reals = node.outputs[0]
    reals.shape = ir.Shape(np.shape(codes))
    retype(reals, f"{tensor}.dequantized", ir.DataType.FLOAT)
    graph.insert_before(before, node)
    return reals
