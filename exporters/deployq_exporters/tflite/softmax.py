"""SOFTMAX, on the grid that LiteRT fixes."""

from __future__ import annotations

from deployq.qgraph.nodes import Softmax
from deployq_exporters.tflite.fixed_grids import check_fixed_grid
from deployq_exporters.tflite.writing import Writing

GRID = 1 / 256, -128
"""Scale and zero point of shares."""


def write_softmax(writing: Writing, node: Softmax) -> None:
    """SOFTMAX along the last axis; of four, between transpositions to ONNX's order and back.

    Raises:
        UnsupportedError: an output on another grid, or codes of 16 bits.
    """
    check_fixed_grid(writing, node, "SOFTMAX", GRID)
    options = writing.file.schema.SoftmaxOptionsT()
    options.beta = 1.0
    (name,) = node.inputs
    if len(writing.shapes[name]) == 4:
        writing.emit_channels_first(node, "SOFTMAX", [writing.channels_first(name)], options)
    else:
        writing.emit(node, "SOFTMAX", [writing.operand(name)], options)
