"""deployq::Layer becomes its operator, between DequantizeLinears of its stored codes.

    Layer(x; tensor T)  ->  Conv(x, DequantizeLinear(T.weight.codes),
                                 DequantizeLinear(T.bias.codes))

and so ConvTranspose; a bias that the target takes as reals is a constant. A fully connected layer
of rank 2 is a Gemm with transB; of a higher rank it is MatMul, its weight stored as (C, O), and Add
of the bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from deployq.affine import dequantize
from deployq.arithmetic.geometry import ConvTransposeGeometry
from deployq.qparams import IntArray, PerChannel, QParams
from deployq_exporters.integer_ops import DOMAIN
from deployq_exporters.rewrites.rule import Rewrite, constant, replace_node
from deployq_exporters.rewrites.typed_tensors import TYPED, read_stored
from deployq_exporters.stored_layers import StoredLayer


def rule(layers: Mapping[str, StoredLayer]) -> Rewrite:
    """The rewrite for a network with these layers.

    Args:
        layers: by the name that the node carries.
    """

    def rewrite(graph: ir.Graph, node: ir.Node) -> None:
        name = node.attributes["tensor"].as_string()
        _rewrite(graph, node, name, layers[name])

    return Rewrite("typed layers", match, rewrite)


def match(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type == "Layer"


def _rewrite(graph: ir.Graph, node: ir.Node, name: str, layer: StoredLayer) -> None:
    x = node.inputs[0]
    assert x is not None
    node.outputs[0].name = f"{name}.real"
    on_map = layer.op_type == "Gemm" and (x.shape is None or len(x.shape) > 2)
    weight = (layer.weight, layer.weight_params)
    weight = _inputs_first(*weight) if on_map else weight
    operands = (
        read_stored(graph, node, f"{name}.weight", *weight), _bias(graph, node, name, layer),
    )  # fmt: skip
    if on_map:
        product = ir.node("MatMul", [x, operands[0]], name=f"{name}.product")
        product.outputs[0].name = f"{name}.product"
        product.outputs[0].type, product.outputs[0].shape = x.type, node.outputs[0].shape
        graph.insert_before(node, product)
        replace_node(graph, node, "Add", (product.outputs[0], operands[1]), name=name)
        return
    replace_node(
        graph, node, layer.op_type, (x, *operands), attributes=_attributes(layer), name=name
    )


def _bias(graph: ir.Graph, node: ir.Node, name: str, layer: StoredLayer) -> ir.Value:
    if layer.real_bias:
        reals = dequantize(layer.bias, layer.bias_params)
        return constant(graph, f"{name}.bias.reals{TYPED}", reals, ir.DataType.FLOAT)
    return read_stored(graph, node, f"{name}.bias", layer.bias, layer.bias_params)


def _inputs_first(codes: IntArray, params: QParams) -> tuple[IntArray, QParams]:
    """(O, C) to (C, O)."""
    if isinstance(params.granularity, PerChannel):
        params = replace(params, granularity=PerChannel(1))
    return codes.T, params


def _attributes(layer: StoredLayer) -> dict[str, Any]:
    """As ONNX has them; the kernel is stated too."""
    if layer.op_type == "Gemm":
        return {"transB": 1}
    geometry = layer.geometry
    stated = {
        "group": geometry.groups, "pads": geometry.pads, "dilations": geometry.dilations,
        "strides": geometry.strides, "kernel_shape": layer.weight.shape[2:],
    }  # fmt: skip
    if isinstance(geometry, ConvTransposeGeometry) and any(geometry.output_padding):
        stated["output_padding"] = geometry.output_padding
    return stated
