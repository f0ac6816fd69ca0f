"""BATCH_MATMUL: the product of two tensors of codes."""

from __future__ import annotations

from deployq.qgraph.nodes import MatMul
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.signed import S8
from deployq_exporters.tflite.writing import Writing


def write_matmul(writing: Writing, node: MatMul) -> None:
    """(..., M, K) and (..., K, N); of four axes, between transpositions to ONNX's order and back.

    Raises:
        UnsupportedError: fewer than three axes, factors of another number of axes than each
            other, or codes of 16 bits.
    """
    ranks = [len(writing.shapes[name]) for name in node.inputs]
    if ranks[0] != ranks[1] or ranks[0] not in (3, 4):
        raise refuse(
            node,
            "both factors have three axes, or both four",
            found=", ".join(str(writing.shapes[name]) for name in node.inputs),
            next_step="reshape them before it",
        )
    qtype = writing.qparams(node.output).qtype
    if qtype != S8:
        raise refuse(
            node,
            "the codes of BATCH_MATMUL are known for 8 bits",
            found=str(qtype),
            allowed=str(S8),
            next_step="quantize activations to 8 bits",
        )
    options = writing.file.schema.BatchMatMulOptionsT()
    if ranks[0] == 4:
        factors = [writing.channels_first(name) for name in node.inputs]
        writing.emit_channels_first(node, "BATCH_MATMUL", factors, options)
    else:
        factors = [writing.operand(name) for name in node.inputs]
        writing.emit(node, "BATCH_MATMUL", factors, options)
