"""Codes that were only moved are not quantized again.

    DQ -> Transpose -> Q -> DQ -> Reshape -> Q -> DQ    becomes    DQ -> Transpose -> Reshape

OpenVINO moves a DequantizeLinear behind movement by itself, so the codes stay what is moved. The
pair between is a kernel of its own there, unless its zero point is 0: it gives every code back.
"""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, grid, producer_of, remove_unread

MOVES = ("Reshape", "Flatten", "Transpose")


def match(node: ir.Node) -> bool:
    """A DequantizeLinear of codes that have the grid of those in front of the movement."""
    if node.op_type != "DequantizeLinear" or node.outputs[0].is_graph_output():
        return False
    quantize = producer_of(node.inputs[0], "QuantizeLinear")
    if quantize is None:
        return False
    source, own = _source(quantize), grid(node)
    if source is None or own is None or any(prod(shape) != 1 for _, shape, _ in own):
        return False
    return grid(source) == grid(quantize) == own


def _source(quantize: ir.Node) -> ir.Node | None:
    """The DequantizeLinear in front of one movement or several."""
    move = producer_of(quantize.inputs[0], *MOVES)
    while move is not None:
        before = producer_of(move.inputs[0], "DequantizeLinear", *MOVES)
        if before is None or before.op_type not in MOVES:
            return before
        move = before
    return None


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    quantize = producer_of(node.inputs[0])
    assert quantize is not None
    moved = quantize.inputs[0]
    assert moved is not None
    ir.convenience.replace_all_uses_with(node.outputs[0], moved)
    graph.remove(node, safe=True)
    remove_unread(graph, quantize)


RULE = Rewrite("leave moved codes as they are", match, rewrite)
