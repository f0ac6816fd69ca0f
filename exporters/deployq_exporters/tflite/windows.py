"""Sliding windows: TFLite knows the paddings SAME and VALID, every other one becomes a PAD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deployq.arithmetic.geometry import Pads, Pair, output_length
from deployq.qgraph.nodes import Node
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.writing import Writing


@dataclass(frozen=True)
class Window:
    """A window over rows and columns, with ONNX's pads.

    Args:
        counts_pads: padding cells are cells like others, which SAME has not.
    """

    kernel: Pair
    strides: Pair
    pads: Pads
    dilations: Pair = (1, 1)
    counts_pads: bool = False

    def padding(self, size: Pair) -> str | None:
        """SAME or VALID where it gives exactly these windows; None where neither does."""
        if self.counts_pads and any(self.pads):
            return None
        axes = [self._begins(size, axis) for axis in (0, 1)]
        ways = {name: all(name in begins for begins in axes) for name in ("VALID", "SAME")}
        return next((name for name, fits in ways.items() if fits), None)

    def _begins(self, size: Pair, axis: int) -> set[str]:
        """The paddings that start one axis where the pads do and end it after as many windows."""
        length, stride = size[axis], self.strides[axis]
        reach = self.dilations[axis] * (self.kernel[axis] - 1) + 1
        before, behind = self.pads[axis], self.pads[axis + 2]
        count = output_length(length, reach, stride, before + behind)
        found = set()
        if before == 0 and reach <= length and count == output_length(length, reach, stride, 0):
            found.add("VALID")
        total = max((-(-length // stride) - 1) * stride + reach - length, 0)
        if before == total // 2 and count == -(-length // stride):
            found.add("SAME")
        return found


def padded(
    writing: Writing, node: Node, window: Window, fill: int | None = None
) -> tuple[int, int]:
    """The tensor that a windowed operator reads, and its padding in the schema's numbers.

    Args:
        fill: the code of padding cells behind a PAD; None for the zero point.
    """
    name = node.inputs[0]
    shape, ways = writing.shapes[name], writing.file.schema.Padding
    way = window.padding((shape[2], shape[3]))
    if way is not None:
        return writing.operand(name), getattr(ways, way)
    top, left, bottom, right = window.pads
    pads = ((0, 0), (top, bottom), (left, right), (0, 0))
    rows, columns = shape[2] + top + bottom, shape[3] + left + right
    made = writing.codes(f"{node.output}.padded", (shape[0], rows, columns, shape[1]), name)
    code, inputs, options = pad(writing, node, pads, fill)
    writing.file.operator(code, inputs, made, options)
    return made, ways.VALID


def pad(
    writing: Writing, node: Node, pads: tuple[Pair, ...], fill: int | None
) -> tuple[str, list[int], Any]:
    """PAD of what a node reads with its zero point, or PADV2 with another code: what an operator
    is added with.
    """
    schema, name = writing.file.schema, node.inputs[0]
    inputs = [writing.operand(name), writing.integers(f"{node.output}.pads", pads)]
    qparams = writing.qparams(name)
    if fill is None or fill == int(qparams.zero_point):
        return "PAD", inputs, schema.PadOptionsT()
    filling = np.asarray([fill], qparams.qtype.dtype)
    code = writing.file.constant(f"{node.output}.fill", filling, qparams)
    return "PADV2", [*inputs, code], schema.PadV2OptionsT()


def check_inside(writing: Writing, node: Node, window: Window) -> None:
    """Refuse padding cells that an average leaves out but a PAD would count."""
    shape = writing.shapes[node.inputs[0]]
    if window.padding((shape[2], shape[3])) is None:
        raise refuse(
            node,
            "an average leaves out padding cells where the padding is SAME",
            found=f"pads {window.pads} over {shape[2]} x {shape[3]} cells",
            allowed="SAME, VALID, or padding cells that count",
            next_step="state count_include_pad, or pads that SAME has",
        )
