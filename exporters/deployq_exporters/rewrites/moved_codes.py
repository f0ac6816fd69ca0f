"""Codes that were only moved are not quantized again.

    DQ -> Transpose -> Q -> DQ -> Reshape -> Q -> DQ    becomes    DQ -> Transpose -> Reshape

OpenVINO moves a DequantizeLinear behind movement by itself, so the codes stay what is moved. The
pair between is a kernel of its own there, unless its zero point is 0: it gives every code back.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, initializer_array, producer_of, remove_unread

MOVES = ("Reshape", "Flatten", "Transpose")


def match(node: ir.Node) -> bool:
    """A DequantizeLinear of codes that have the grid of those in front of the movement."""
    quantize = producer_of(node.inputs[0], "QuantizeLinear")
    if node.op_type != "DequantizeLinear" or quantize is None or node.outputs[0].is_graph_output():
        return False
    source = _source(quantize)
    return source is not None and _grid(source) == _grid(quantize) == _grid(node)


def _source(quantize: ir.Node) -> ir.Node | None:
    """The DequantizeLinear in front of one movement or several."""
    move = producer_of(quantize.inputs[0], *MOVES)
    while move is not None:
        before = producer_of(move.inputs[0], "DequantizeLinear", *MOVES)
        if before is None or before.op_type not in MOVES:
            return before
        move = before
    return None


def _grid(node: ir.Node) -> tuple[object, ...] | None:
    """Scale, zero point and the type of both; None where one is computed or not stated."""
    arrays = [initializer_array(value) for value in node.inputs[1:3]]
    if len(arrays) < 2 or any(array is None or array.ndim for array in arrays):
        return None
    return tuple((str(array.dtype), array.tobytes()) for array in arrays if array is not None)


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    quantize = producer_of(node.inputs[0])
    assert quantize is not None
    moved = quantize.inputs[0]
    assert moved is not None
    ir.convenience.replace_all_uses_with(node.outputs[0], moved)
    graph.remove(node, safe=True)
    remove_unread(graph, quantize)


RULE = Rewrite("leave moved codes as they are", match, rewrite)
