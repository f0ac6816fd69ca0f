"""From a subject to the bounds of its layers."""

from __future__ import annotations

from deployq.errors import UnsupportedError
from deployq.overflow.facts import Layer
from deployq.overflow.linear_layers import linear_layer
from deployq.overflow.products import product_layer
from deployq.overflow.subject import Subject
from deployq.qgraph.nodes import Linear, MatMul


def prove_layers(subject: Subject) -> tuple[Layer, ...]:
    """The worst case of every Conv, ConvTranspose, Gemm and MatMul, in graph order.

    A bound is exact over all inputs of its layer: each cell takes any code of its tensor's range,
    whatever the others are. Whether the network in front can make such an input is not asked.

    Raises:
        UnsupportedError: no layer sums integer products, so that nothing could be proven.
    """
    nodes = subject.graph.nodes
    found = tuple(
        linear_layer(node, subject) if isinstance(node, Linear) else product_layer(node, subject)
        for node in nodes
        if isinstance(node, Linear | MatMul)
    )
    if not found:
        raise UnsupportedError(
            "graph",
            "a proof needs a Conv, ConvTranspose, Gemm or MatMul on codes",
            found=f"{len(nodes)} operators, {len(subject.graph.floats)} of them in float",
            next_step="quantize the inputs and weights of the layers",
        )
    return found
