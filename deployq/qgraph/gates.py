"""A tensor times its own Sigmoid as one function of it, as a contract may have it.

A file says that the Sigmoid rounds to a grid of its own and that a Mul rounds again. Qualcomm's HTP
computes ONNX's Swish of the tensor, rounded once, whatever grid the Sigmoid has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deployq.arithmetic.contract import Contract
from deployq.arithmetic.requant_words import Gating
from deployq.qgraph.nodes import Elementwise, IntegerGraph, Lookup, Node


def gates_joined(graph: IntegerGraph, contract: Contract) -> IntegerGraph:
    """The graph with Swish (opset 24, alpha 1) for such products, where a contract says so.

    The Sigmoid stays, for what else reads it. A clamp behind either, and whatever stands between
    the tensor, its Sigmoid and the Mul, leaves them apart.

    Source: trials on Qualcomm's x86 emulator (onnxruntime-qnn 2.7.0).
    """
    if contract.form("Mul").gating is not Gating.JOINED:
        return graph
    makers = {node.output: node for node in graph.nodes}
    found = {node.output: x for node in graph.nodes if (x := _gated(node, makers))}
    if not found:
        return graph
    nodes = (
        _swish(node, found[node.output]) if node.output in found else node for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def _gated(node: Node, makers: Mapping[str, Node]) -> str | None:
    """The tensor whose own Sigmoid it is multiplied by."""
    if not isinstance(node, Elementwise) or node.op_type != "Mul" or node.bounds:
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        made = makers.get(gate)
        sigmoid = isinstance(made, Lookup) and made.op_type == "Sigmoid"
        if made is not None and sigmoid and made.inputs == (x,) and not made.bounds:
            return x
    return None


def _swish(node: Node, x: str) -> Lookup:
    return Lookup(name=node.name, op_type="Swish", inputs=(x,), output=node.output)
