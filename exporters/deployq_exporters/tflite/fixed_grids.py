"""Operators whose output LiteRT's kernels put on one grid, whatever the tensor states."""

from __future__ import annotations

from deployq.qgraph.nodes import Node
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.signed import S8
from deployq_exporters.tflite.writing import Writing


def check_fixed_grid(writing: Writing, node: Node, code: str, grid: tuple[float, int]) -> None:
    """Refuse another grid than that of an operator's kernels.

    Args:
        code: the operator.
        grid: scale and zero point of its 8-bit codes.

    Raises:
        UnsupportedError: the node's output is on another one.
    """
    scale, zero_point = grid
    out = writing.qparams(node.output)
    if out.qtype != S8 or (float(out.scale), int(out.zero_point)) != grid:
        raise refuse(
            node,
            f"the output of {code} has one grid",
            found=f"{out.qtype}, {out.scale}, {out.zero_point}",
            allowed=f"{S8}, {scale}, {zero_point}",
            next_step="state activation.fixed_output in the profile",
        )
