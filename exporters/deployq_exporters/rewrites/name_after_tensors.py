"""Each computing node takes the name of the tensor whose codes it makes.

    node_conv2d -> QuantizeLinear "layer1.conv1.quantize"    becomes    layer1.conv1 -> ...

Names then lead back to the user's modules; a fused clamp is ``<tensor>.clamp``, a sum that joins
the layer before it ``<tensor>.sum``.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq.qgraph.floats import PRODUCTS
from deployq_exporters.rewrites.rule import Rewrite, producer_of

SUFFIX = ".quantize"


def match(node: ir.Node) -> bool:
    return node.op_type == "QuantizeLinear" and str(node.name).endswith(SUFFIX)


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    tensor = str(node.name).removesuffix(SUFFIX)
    value = node.inputs[0]
    for part in ("range", "clamp", ""):
        producer = producer_of(value)
        if producer is None:
            return
        clips = producer.op_type in ("Clip", "Relu")
        if part and not (clips and (part == "clamp" or producer.name == f"{tensor}.range")):
            continue
        layer = None if part else _joined_layer(producer)
        if layer is not None:
            _name(producer, tensor, "sum")
            producer = layer
        _name(producer, tensor, part)
        value = producer.inputs[0]


def _name(node: ir.Node, tensor: str, part: str) -> None:
    node.name = f"{tensor}.{part}" if part else tensor
    node.outputs[0].name = f"{tensor}.{part or 'real'}"


def _joined_layer(node: ir.Node) -> ir.Node | None:
    """The layer, or its bias behind a MatMul, whose reals a sum adds to what others read from
    codes.
    """
    if node.op_type != "Add":
        return None
    producers = _producers(node)
    layers = [p for p in producers if _is_layer(p) or (p.op_type == "Add" and _adds_a_bias(p))]
    return layers[0] if len(layers) == 1 and any(map(_reads_computed_codes, producers)) else None


def _producers(node: ir.Node) -> list[ir.Node]:
    found = map(producer_of, node.inputs)
    return [producer for producer in found if producer is not None]


def _is_layer(node: ir.Node) -> bool:
    return node.op_type in PRODUCTS


def _adds_a_bias(node: ir.Node) -> bool:
    producers = _producers(node)
    return any(map(_is_layer, producers)) and not any(map(_reads_computed_codes, producers))


def _reads_computed_codes(node: ir.Node) -> bool:
    codes = node.inputs[0]
    return node.op_type == "DequantizeLinear" and codes is not None and codes.const_value is None


RULE = Rewrite("name after tensors", match, rewrite)
