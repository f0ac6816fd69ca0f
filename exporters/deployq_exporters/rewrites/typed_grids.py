"""deployq::Grid, of a computed tensor, becomes QuantizeLinear and DequantizeLinear.

    Grid(x; s, z, tensor T, type s4)  ->  [Clip] QuantizeLinear(x, T.scale, T.zero_point)
                                          DequantizeLinear(T.codes, T.scale, T.zero_point)

Codes are ``T.codes``, the reals read from them ``T.dequantized``, a graph output ``T``. A type that
does not fill its container states its range by a Clip of the reals before the QuantizeLinear:
``low = (qmin - z) s``, ``high = (qmax - z) s``. A constant is stored as its codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from deployq import affine
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq_exporters.integer_ops import DOMAIN
from deployq_exporters.rewrites.rule import Rewrite, constant, replace_node
from deployq_exporters.rewrites.typed_tensors import container, read_stored, retype, typed_params


def match(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type == "Grid"


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    tensor = node.attributes["tensor"].as_string()
    qtype = QType.parse(node.attributes["qtype"].as_string())
    x, scale = node.inputs[0], np.float32(node.attributes["scale"].as_float())
    zero_point = node.attributes["zero_point"].as_int()
    assert x is not None
    if x.const_value is not None:
        _store(graph, node, tensor, QParams(qtype, np.asarray(scale), np.asarray(zero_point)))
        return
    grid = typed_params(graph, tensor, qtype, scale, zero_point)
    if not qtype.fills_container:
        ends = np.array([node.attributes[key].as_int() for key in ("qmin", "qmax")])
        x = _stated_range(graph, node, x, tensor, (ends - zero_point).astype(np.float32) * scale)
    quantize = ir.node("QuantizeLinear", [x, *grid], name=f"{tensor}.quantize")
    codes = quantize.outputs[0]
    codes.shape = x.shape
    retype(codes, f"{tensor}.codes", container(qtype))
    graph.insert_before(node, quantize)
    reals = replace_node(
        graph, node, "DequantizeLinear", (codes, *grid), name=f"{tensor}.dequantize"
    )
    name = tensor if reals.is_graph_output() else f"{tensor}.dequantized"
    retype(reals, name, ir.DataType.FLOAT)


def _store(graph: ir.Graph, node: ir.Node, tensor: str, params: QParams) -> None:
    """A constant is stored as its codes."""
    value = node.inputs[0]
    assert value is not None and value.const_value is not None
    codes = affine.quantize(value.const_value.numpy().astype(np.float32), params).astype(np.int64)
    reals = read_stored(graph, node, tensor, codes, params)
    node.outputs[0].replace_all_uses_with(reals)
    graph.remove(node, safe=True)


def _stated_range(
    graph: ir.Graph, node: ir.Node, x: ir.Value, tensor: str, reals: np.ndarray[Any, Any]
) -> ir.Value:
    """Clip ``x`` to the reals of the lowest and the highest code."""
    bounds = [
        constant(graph, f"{tensor}.{end}", real, ir.DataType.FLOAT)
        for end, real in zip(("low", "high"), reals, strict=True)
    ]
    clip = ir.node("Clip", [x, *bounds], name=f"{tensor}.range")
    clip.outputs[0].name = f"{tensor}.clipped"
    clip.outputs[0].type, clip.outputs[0].shape = x.type, x.shape
    graph.insert_before(node, clip)
    return clip.outputs[0]


RULE = Rewrite("typed grids", match, rewrite)
