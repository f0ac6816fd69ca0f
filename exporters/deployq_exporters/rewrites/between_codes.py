"""Movements between DequantizeLinear and QuantizeLinear on one grid, put on the codes themselves.

q -> DQ -> movement -> Q        becomes        q -> movement of codes
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from deployq_exporters.rewrites.rule import (
    grid,
    is_read_once,
    producer_of,
    remove_unread,
)


def grid_around(node: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """The DequantizeLinear before a node and the QuantizeLinear behind it; None where another
    node is there, a second reader, or a second grid.
    """
    source = producer_of(node.inputs[0], "DequantizeLinear")
    if source is None or not is_read_once(node.outputs[0]):
        return None
    (user,) = node.successors()
    if user.op_type != "QuantizeLinear" or grid(source) is None or grid(source) != grid(user):
        return None
    return source, user


def put_on_codes(graph: ir.Graph, node: ir.Node, movements: Sequence[ir.Node]) -> None:
    """Put ``movements``, the first of which reads the codes, where ``node`` and both grids are."""
    around = grid_around(node)
    assert around is not None
    source, quantize = around
    old, output = quantize.outputs[0], movements[-1].outputs[0]
    output.name, output.type, output.shape = old.name, old.type, old.shape
    for movement in movements:
        graph.insert_before(node, movement)
    ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
    graph.remove([quantize, node], safe=True)
    remove_unread(graph, source)
