"""Bytes of codes, and multiply-accumulates behind them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from deployq.qgraph.nodes import IntegerGraph, Linear, MatMul, Node
from deployq.qtypes import QType


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of ``count`` codes of so many bits, packed without gaps."""
    return -(-count * bits // 8)


def packed_size(count: int, qtype: QType) -> int:
    """Bytes of ``count`` codes in their ONNX container, several to a byte below 8 bits."""
    return packed_bytes(count, qtype.container.bits)


def with_reals(
    graph: IntegerGraph, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of code tensors, and those of what products return as reals."""
    known = dict(shapes)
    for node in graph.in_reals:
        if isinstance(node, Linear):
            known[node.output] = (*known[node.inputs[0]][:-1], node.weight.shape[1])
        elif isinstance(node, MatMul):
            a, b = (known[name] for name in node.inputs)
            known[node.output] = (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
    return known


def macs(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Multiply-accumulates behind a node's output; 0 for what multiplies nothing.

    Each output of a convolution reads a window; each input of a transposed one writes a window.

    Args:
        shapes: of the tensors that the node reads and writes, for one sample.
    """
    if isinstance(node, Linear) and node.op_type == "ConvTranspose":
        read = shapes[node.inputs[0]]
        return prod(read) * node.weight.size // read[1]
    if isinstance(node, Linear):
        inner = prod(node.weight.shape[1:]) if node.op_type == "Conv" else node.weight.shape[0]
        return prod(shapes[node.output]) * int(inner)
    if isinstance(node, MatMul):
        return prod(shapes[node.output]) * shapes[node.inputs[0]][-1]
    return 0
