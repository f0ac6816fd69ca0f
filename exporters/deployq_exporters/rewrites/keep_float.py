"""A float operator between codes stays float: a copy parts it from its DequantizeLinear.

    op(DequantizeLinear(q))   ->   op(Max(DequantizeLinear(q)))

ONNX Runtime quantizes the float weights of a product between DequantizeLinear and QuantizeLinear
(its WeightBiasQuantization), computes Softmax there by a table, and interpolates codes in Resize:
none of it is what the contract says. The last two it does only where a QuantizeLinear follows. Max
of one operand copies, and no optimizer of ONNX Runtime 1.31 drops it, as it does Identity. The
table stays where it is exact: over the last axis, onto a grid whose inverse scale is whole, and not
in rows of one element, which 1.31 makes 0 in the place of 1.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq.qgraph.floats import PRODUCTS
from deployq_exporters.rewrites.rule import Rewrite, initializer_array, producer_of


def match(node: ir.Node) -> bool:
    if not _reads_codes(node):
        return False
    becomes_integer = _interpolates(node) or (node.op_type == "Softmax" and not _is_table(node))
    return _has_float_weight(node) or (becomes_integer and _is_quantized_later(node))


def _is_table(node: ir.Node) -> bool:
    """ONNX Runtime's QLinearSoftmax computes this Softmax, and its arithmetic is known."""
    readers = node.successors()
    source = node.inputs[0]
    shape = None if source is None else source.shape
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear" or shape is None:
        return False
    scale = initializer_array(readers[0].inputs[1])
    whole = scale is not None and float(1 / scale).is_integer()
    axis = node.attributes.get_int("axis", -1)
    return whole and axis in (-1, len(shape) - 1) and shape[-1] != 1


def _is_quantized_later(node: ir.Node) -> bool:
    """A QuantizeLinear reads it, at once or further on: ONNX Runtime moves it up through others."""
    seen, waiting = set(), list(node.successors())
    while waiting:
        reader = waiting.pop()
        if reader.op_type == "QuantizeLinear":
            return True
        if reader not in seen:
            seen.add(reader)
            waiting += reader.successors()
    return False


def _reads_codes(node: ir.Node) -> bool:
    return bool(node.inputs) and producer_of(node.inputs[0], "DequantizeLinear") is not None


def _has_float_weight(node: ir.Node) -> bool:
    if node.op_type not in PRODUCTS:
        return False
    weight = node.inputs[1]
    return weight is not None and weight.const_value is not None


def _interpolates(node: ir.Node) -> bool:
    mode = node.attributes.get("mode")
    return node.op_type == "Resize" and mode is not None and mode.as_string() != "nearest"


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    reals = node.inputs[0]
    assert reals is not None
    copy = ir.node("Max", (reals,), name=f"{node.name}.copy")
    made = copy.outputs[0]
    made.name, made.type, made.shape = f"{node.name}.reals", reals.type, reals.shape
    graph.insert_before(node, copy)
    node.replace_input_with(0, made)


RULE = Rewrite("keep float", match, rewrite)
