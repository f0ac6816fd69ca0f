"""Walk an ONNX file once, in order, and turn each operator on codes into an integer node."""

from __future__ import annotations

import onnx

from deployq.qgraph import movement, qdq, qoperator
from deployq.qgraph.nodes import IntegerGraph
from deployq.qgraph.values import refuse
from deployq.qgraph.walk import Handler, Walk

HANDLERS: dict[tuple[str, str], Handler] = {
    **qdq.HANDLERS,
    **movement.HANDLERS,
    **qoperator.HANDLERS,
}
"""(domain, operator) to the function that reads it."""


def read_graph(model: onnx.ModelProto) -> IntegerGraph:
    """The integer nodes of a QDQ or QOperator model.

    Raises:
        UnsupportedError: a node has no integer meaning; the message names it.
        InputError: the graph is not in order.
    """
    walk = Walk(model)
    for node in model.graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        handler = HANDLERS.get((domain, node.op_type))
        if handler is None:
            raise refuse(
                node, "every operator between the first and the last code has an integer form",
                f"{domain or 'ai.onnx'}::{node.op_type}",
            )
        handler(walk, node)
    return walk.finish(model.graph)
