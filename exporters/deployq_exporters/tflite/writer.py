"""From an integer graph to the bytes of a ``.tflite`` file of int8 or int16 codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from deployq.qgraph.edges import output_codes
from deployq.qgraph.nodes import (
    Concat,
    Dequantize,
    Elementwise,
    IntegerGraph,
    Linear,
    Lookup,
    MatMul,
    Move,
    Node,
    Pool,
    Product,
    Quantize,
    Rescale,
    Softmax,
)
from deployq_exporters.tflite.layers import write_linear
from deployq_exporters.tflite.layout import Shape, file_shape
from deployq_exporters.tflite.movement import write_move
from deployq_exporters.tflite.operators import (
    write_concat,
    write_elementwise,
    write_lookup,
    write_pool,
    write_rescale,
)
from deployq_exporters.tflite.products import write_matmul
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.row_norms import row_norms, write_row_norm
from deployq_exporters.tflite.signed import signed_graph
from deployq_exporters.tflite.softmax import write_softmax
from deployq_exporters.tflite.writing import Writing


def write_tflite(graph: IntegerGraph, shapes: Mapping[str, Shape]) -> bytes:
    """The graph as integer operators of TFLite; the same graph gives the same bytes.

    The file takes codes and gives codes: its inputs are those that a QuantizeLinear of a graph
    input makes, its outputs those behind the graph's. Tensors are named as in the graph. Those of
    four axes lie with the channels last, (N, H, W, C); unsigned codes are stored 128 lower
    (:func:`~deployq_exporters.tflite.signed.signed_graph`). The batch is 1 and may be resized.

    Args:
        graph: from ``deployq.qgraph.read_graph``.
        shapes: code tensor, constants included, to its shape for one sample.

    Raises:
        UnsupportedError: TFLite has no operator for a node, or one with other rules; the message
            names the node.
        InputError: LiteRT's package is not installed.
    """
    writing = Writing(signed_graph(graph), shapes)
    inputs, outputs = _input_codes(writing.graph), output_codes(writing.graph)
    for name in inputs:
        writing.index[name] = writing.codes(name, file_shape(shapes[name]), name)
    norms = row_norms(writing.graph)
    written = {*inputs, *(found.norm.output for found in norms.values())}
    for node in writing.graph.nodes:
        if node.output in norms:
            write_row_norm(writing, norms[node.output])
        elif node.output not in written and not isinstance(node, Dequantize):
            _write(writing, node)
    ends = ([writing.index[name] for name in names] for names in (inputs, outputs))
    return writing.file.content(*ends)


def _input_codes(graph: IntegerGraph) -> list[str]:
    """The codes that enter, in order: integer inputs, and what a Quantize makes of real ones."""
    made = []
    for node in graph.nodes:
        if isinstance(node, Quantize) and node.inputs[0] in graph.inputs:
            if node.bounds is not None:
                raise refuse(
                    node,
                    "the codes that enter are all of their type",
                    found=f"a clamp to {node.bounds}",
                    next_step="clamp the input behind its quantizer",
                )
            made.append(node.output)
    return [name for name in graph.inputs if name in graph.qparams] + made


def _write(writing: Writing, node: Node) -> None:
    write = _WRITERS.get(type(node))
    if write is None:
        raise refuse(
            node,
            "every operator has an integer form in a .tflite file",
            found=f"{node.op_type} ({type(node).__name__})",
            allowed=", ".join(kind.__name__ for kind in _WRITERS),
        )
    if isinstance(node, Product) and node.in_reals:
        raise refuse(
            node, "an integer layer of a .tflite file returns codes", found="reals",
            allowed="a QuantizeLinear behind it",
            next_step="take a target without graph.real_outputs",
        )  # fmt: skip
    _check_width(writing, node)
    write(writing, node)


def _check_width(writing: Writing, node: Node) -> None:
    widths = {writing.qparams(name).qtype for name in (*node.inputs, node.output)}
    if len(widths) > 1:
        raise refuse(
            node,
            "an operator of a .tflite file reads and writes codes of one width",
            found=", ".join(map(str, sorted(widths))),
            next_step="give all activations one width",
        )


_WRITERS: dict[type[Node], Callable[[Writing, Any], None]] = {
    Linear: write_linear,
    MatMul: write_matmul,
    Elementwise: write_elementwise,
    Pool: write_pool,
    Concat: write_concat,
    Rescale: write_rescale,
    Lookup: write_lookup,
    Softmax: write_softmax,
    Move: write_move,
}
"""Kind of node to the function that adds its operators."""
