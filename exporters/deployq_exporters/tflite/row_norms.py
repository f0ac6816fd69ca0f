"""LayerNormalization in float between codes: TFLite has no operator of it, in integers or reals.

DEQUANTIZE, MEAN, SUB, MUL, MEAN, ADD, RSQRT, MUL, MUL, ADD, QUANTIZE
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deployq.qgraph.nodes import Dequantize, Float, IntegerGraph, Quantize
from deployq.qgraph.values import attributes
from deployq_exporters.tflite.layout import Shape
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.writing import Writing

NORM = "LayerNormalization"
EPSILON = 1e-5
"""Of a node that states none (ONNX)."""


@dataclass(frozen=True)
class NormOfCodes:
    """A normalization in float that reads codes, and whose reals become codes.

    Args:
        norm: the operator.
        source: the codes that it reads.
        end: what rounds its reals.
    """

    norm: Float
    source: str
    end: Quantize


def row_norms(graph: IntegerGraph) -> dict[str, NormOfCodes]:
    """Each of them, by the codes that come out."""
    made, found = {node.output: node for node in graph.nodes}, dict[str, NormOfCodes]()
    for end in graph.nodes:
        norm = made.get(end.inputs[0]) if isinstance(end, Quantize) else None
        if isinstance(end, Quantize) and isinstance(norm, Float) and norm.op_type == NORM:
            read = made.get(norm.inputs[0])
            if isinstance(read, Dequantize):
                found[end.output] = NormOfCodes(norm, read.inputs[0], end)
    return found


def write_row_norm(writing: Writing, found: NormOfCodes) -> None:
    """The normalization of codes, and the codes that its reals are rounded to.

    Raises:
        UnsupportedError: it is not along the last axis, or what it multiplies with is computed.
    """
    norm, source, node = found.norm, found.source, found.end
    facts = attributes(norm.operator)
    shape, epsilon = writing.shapes[source], facts.get("epsilon", EPSILON)
    if facts.get("axis", -1) not in (-1, len(shape) - 1) or len(norm.inputs) > 1:
        raise refuse(
            norm, "a normalization is along the last axis, with constants of its own",
            found=f"axis {facts.get('axis', -1)} of {len(shape)}, {len(norm.inputs)} tensors read",
            next_step="normalize along the last axis, or take another target",
        )  # fmt: skip
    first = len(shape) == 4  # in ONNX's order
    codes = writing.channels_first(source) if first else writing.operand(source)
    reals = _Steps(writing, node.output, shape)
    x = reals.of("DEQUANTIZE", [codes], "reals", writing.file.schema.DequantizeOptionsT())
    made = reals.normalized(x, float(epsilon))
    _, *names = [name for name in norm.operator.input if name]
    for code, name in zip(("MUL", "ADD"), names, strict=False):
        made = reals.joined(code, made, writing.file.constant(name, norm.constants[name]), code)
    options: Any = writing.file.schema.QuantizeOptionsT()
    emit = writing.emit_channels_first if first else writing.emit
    emit(node, "QUANTIZE", [made], options)


class _Steps:
    """Real tensors on the way to one tensor of codes, which they are named after."""

    def __init__(self, writing: Writing, output: str, shape: Shape) -> None:
        self.writing, self.output, self.shape = writing, output, shape

    def of(
        self, code: str, inputs: list[int], name: str, options: Any = None, *, row: bool = False
    ) -> int:
        """An operator's result; ``row``: one number a row."""
        shape = (*self.shape[:-1], 1) if row else self.shape
        made = self.writing.file.reals(f"{self.output}.{name}", shape)
        self.writing.file.operator(code, inputs, made, options)
        return made

    def joined(self, code: str, a: int, b: int, name: str, *, row: bool = False) -> int:
        """ADD, SUB or MUL."""
        options = getattr(self.writing.file.schema, f"{code.title()}OptionsT")()
        return self.of(code, [a, b], name.lower(), options, row=row)

    def normalized(self, x: int, epsilon: float) -> int:
        """``(x - mean) / sqrt(variance + epsilon)`` of each row."""
        apart = self.joined("SUB", x, self._mean(x, "mean"), "apart")
        variance = self._mean(self.joined("MUL", apart, apart, "squared"), "variance")
        term = self.writing.file.constant(
            f"{self.output}.epsilon", np.asarray([epsilon], np.float32)
        )
        raised = self.joined("ADD", variance, term, "raised", row=True)
        return self.joined("MUL", apart, self.of("RSQRT", [raised], "inverse", row=True), "unit")

    def _mean(self, index: int, name: str) -> int:
        options = self.writing.file.schema.ReducerOptionsT()
        options.keepDims = True
        axes = self.writing.integers(f"{self.output}.{name}.axes", (len(self.shape) - 1,))
        return self.of("MEAN", [index, axes], name, options, row=True)
