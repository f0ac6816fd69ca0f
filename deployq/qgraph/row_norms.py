"""Normalizations between codes and codes, as a contract with an integer form for them reads them.

The file says reals: a DequantizeLinear, LayerNormalization (17) or RMSNormalization (23) and a
QuantizeLinear. Where a contract computes them in float, so does its simulation; where it has them
in integers, the three are one node on codes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deployq.arithmetic.contract import Contract
from deployq.arithmetic.row_norms import RowNorm
from deployq.arithmetic.row_operators import NORMALIZATIONS, in_integers
from deployq.qgraph.nodes import Dequantize, Float, IntegerGraph, Node, Quantize, RowNormalization
from deployq.qgraph.values import attributes


def rows_on_codes(graph: IntegerGraph, contract: Contract) -> IntegerGraph:
    """The graph with the normalizations that a contract has in integers on codes.

    One that reads reals, whose scale or bias is computed, or that is over more than the last axis
    stays in float, and so does one that another operator or an output reads as reals.
    """
    integer = {op for op in NORMALIZATIONS if in_integers(op, contract.form(op))}
    floats = [node for node in graph.floats if node.op_type in integer]
    if not floats:
        return graph
    codes = {n.output: n.inputs[0] for n in graph.nodes if isinstance(n, Dequantize)}
    found = {node.output: made for node in floats if (made := _on_codes(graph, node, codes))}
    nodes = [_quantized(node, found) for node in graph.nodes if node.output not in found]
    read = Counter(name for node in nodes for name in node.inputs)
    kept = (n for n in nodes if not isinstance(n, Dequantize) or _is_read(n, read, graph))
    return replace(graph, nodes=tuple(kept))


def _on_codes(
    graph: IntegerGraph, node: Float, codes: Mapping[str, str]
) -> RowNormalization | None:
    norm = row_norm(node)
    readers = [other for other in graph.nodes if node.output in other.inputs]
    quantized = bool(readers) and all(isinstance(reader, Quantize) for reader in readers)
    if norm is None or not quantized or node.output in graph.outputs or node.inputs[0] not in codes:
        return None
    return RowNormalization(
        name=node.name, op_type=node.op_type, inputs=(codes[node.inputs[0]],), output="", norm=norm
    )


def row_norm(node: Float) -> RowNorm | None:
    """What a normalization over the last axis computes; None where it is another operator."""
    facts, (_, *stored) = attributes(node.operator), [name for name in node.operator.input if name]
    values = [node.constants.get(name) for name in stored]
    if facts.get("axis", -1) != -1 or len(node.inputs) != 1 or not values:
        return None
    vectors = [np.asarray(v, np.float32) for v in values if v is not None and v.ndim == 1]
    if len(vectors) < len(values) or len({v.shape for v in vectors}) > 1 or vectors[0].size < 2:
        return None
    bias = vectors[1] if len(vectors) > 1 else None
    return RowNorm(node.op_type, vectors[0], bias, float(facts.get("epsilon", 1e-5)))


def _quantized(node: Node, found: Mapping[str, RowNormalization]) -> Node:
    """The normalization that a QuantizeLinear ends, in its place; every other node as it is."""
    if not isinstance(node, Quantize) or node.inputs[0] not in found:
        return node
    return replace(found[node.inputs[0]], output=node.output, bounds=node.bounds)


def _is_read(node: Node, read: Counter[str], graph: IntegerGraph) -> bool:
    return read[node.output] > 0 or node.output in graph.outputs
