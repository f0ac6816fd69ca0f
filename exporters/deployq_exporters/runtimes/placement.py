"""Which tensors of a file a runtime computed in its integer kernels, and which in float."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.errors import InputError
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import changes_container
from deployq.qgraph.nodes import Linear, MatMul, Move, Node, Quantize
from deployq_exporters.runtimes.onnxruntime import Placement


def tensors_from_floats(graph: IntegerGraph) -> dict[str, str]:
    """Code tensors that quantize what an operator in float computed, with that operator's name."""
    made = {node.output: node.name for node in graph.floats}
    quantized = (node for node in graph.nodes if isinstance(node, Quantize))
    return {node.output: made[node.inputs[0]] for node in quantized if node.inputs[0] in made}


def float_tensors(graph: IntegerGraph, placement: Placement) -> dict[str, str]:
    """Code tensors that were computed in float, with the name of their node.

    Raises:
        InputError: a layer is not in the runtime's graph under its name, so nobody can tell.
    """
    found = not_in_integers(graph, placement)
    for node in graph.nodes:
        if node.output in found:
            _check_known(node, placement)
    return found


def not_in_integers(graph: IntegerGraph, placement: Placement) -> dict[str, str]:
    """As :func:`float_tensors`, with what a runtime renamed among them.

    Movement, the law-1 edges and changes of container compute nothing.
    """
    left = (n for n in _computing(graph) if not placement.runs_in_integers(n.name))
    return tensors_from_floats(graph) | {node.output: node.name for node in left}


def only_floats(graph: IntegerGraph, placement: Placement) -> bool:
    """True where the runtime has no integer kernel for anything that the graph computes."""
    floats = not_in_integers(graph, placement)
    return bool(floats) and not any(node.output not in floats for node in _computing(graph))


def _computing(graph: IntegerGraph) -> Iterator[Node]:
    for node in graph.nodes:
        moves = isinstance(node, (Move, Quantize)) or node.op_type == "MaxPool"
        if node.writes_codes and not moves and not changes_container(graph, node):
            yield node


def float_operators(graph: IntegerGraph, placement: Placement) -> tuple[str, ...]:
    """Names of all nodes that compute in float, in graph order."""
    names = {*float_tensors(graph, placement).values(), *(node.name for node in graph.floats)}
    return tuple(dict.fromkeys(node.name for node in graph.nodes if node.name in names))


def float_products(graph: IntegerGraph, placement: Placement) -> tuple[str, ...]:
    """Names of the nodes whose factors are multiplied in float: of layers, of products of two
    activations, and of what the file has in float.
    """
    floats = {node.name for node in graph.floats}
    products = (n.name for n in graph.nodes if isinstance(n, (Linear, MatMul)) or n.name in floats)
    return tuple(name for name in products if not placement.multiplies_integers(name))


def _check_known(node: Node, placement: Placement) -> None:
    if isinstance(node, Linear) and node.name not in placement.operators:
        raise InputError(
            f"layer {node.name}",
            "the runtime's optimised graph keeps the names of the layers",
            found="no node of this name",
            next_step="report the runtime's version: its fusions changed",
        )
