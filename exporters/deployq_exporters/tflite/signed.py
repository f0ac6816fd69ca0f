"""The same network with signed codes: a ``.tflite`` file has no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deployq.qgraph.nodes import IntegerGraph, MatMul, Move, Node
from deployq.qparams import QParams
from deployq.qtypes import QType

SHIFT = 128
U8, S8, S16 = QType(8, signed=False), QType(8, signed=True), QType(16, signed=True)


def signed_graph(graph: IntegerGraph) -> IntegerGraph:
    """Every u8 tensor as s8 codes that are 128 lower: the same reals, the same rounding to codes.

    Only a mean of raw codes tells the two apart: its ties go away from code 0, which is another
    real.
    """
    lowered = {name for name, qparams in graph.qparams.items() if qparams.qtype == U8}
    if not lowered:
        return graph
    qparams = {n: _lower(q) if n in lowered else q for n, q in graph.qparams.items()}
    constants = {n: codes - SHIFT * (n in lowered) for n, codes in graph.constants.items()}
    nodes = (_moved(node) if node.output in lowered else node for node in graph.nodes)
    every = tuple(_of_lowered(node, qparams) for node in nodes)
    return replace(graph, nodes=every, qparams=qparams, constants=constants)


def _lower(qparams: QParams) -> QParams:
    return QParams(S8, qparams.scale, qparams.zero_point - SHIFT)


def _of_lowered(node: Node, qparams: Mapping[str, QParams]) -> Node:
    """The node with what it says of a zero point as it is now."""
    if not isinstance(node, MatMul):
        return node
    return replace(node, shifted=qparams[node.inputs[1]].is_shifted)


def _moved(node: Node) -> Node:
    """The node with the codes that it names itself 128 lower."""
    if node.bounds is not None:
        node = replace(node, bounds=(node.bounds[0] - SHIFT, node.bounds[1] - SHIFT))
    if isinstance(node, Move) and node.attributes.get("value") is not None:
        stated: dict[str, Any] = {"value": node.attributes["value"] - SHIFT}
        node = replace(node, attributes={**node.attributes, **stated})
    return node
