"""The state of one file under construction: which of its tensors holds which codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deployq.errors import UnsupportedError
from deployq.qgraph.nodes import IntegerGraph, Node
from deployq.qparams import QParams
from deployq_exporters.tflite.clamp import FUSING, clamp, fused
from deployq_exporters.tflite.flatfile import VERSIONS, WIDE_VERSIONS, FlatFile
from deployq_exporters.tflite.layout import (
    FIRST,
    Shape,
    file_axes,
    file_shape,
    onnx_axes,
    same_bytes,
    to_file,
)
from deployq_exporters.tflite.signed import S8, S16


class Writing:
    """Tensors of the file by the code tensors that they hold.

    Args:
        graph: with signed codes.
        shapes: code tensor to its shape for one sample, in ONNX's order of axes.
    """

    def __init__(self, graph: IntegerGraph, shapes: Mapping[str, Shape]) -> None:
        self.graph, self.shapes, self.file = graph, shapes, FlatFile()
        self.index: dict[str, int] = {}

    def qparams(self, name: str) -> QParams:
        """Parameters of a code tensor.

        Raises:
            UnsupportedError: it has no 8-bit codes, and no 16-bit codes with zero point 0.
        """
        qparams = self.graph.qparams[name]
        if qparams.qtype != S8 and (qparams.qtype != S16 or int(qparams.zero_point)):
            raise UnsupportedError(
                f"tensor {name}",
                "a .tflite file has activations of 8 bits, or of 16 with zero point 0, that use "
                "every code",
                found=f"{qparams.qtype}, zero point {qparams.zero_point}",
                allowed=f"{S8}, or {S16} with zero point 0",
                next_step="quantize activations to 8 bits, or symmetrically to 16",
            )
        return qparams

    def codes(self, name: str, shape: Shape, like: str) -> int:
        """A tensor of codes with the parameters of ``like``; ``shape`` in the file's order."""
        return self.file.codes(name, shape, self.qparams(like))

    def operand(self, name: str, rank: int | None = None) -> int:
        """The tensor of the codes that a node reads.

        Args:
            rank: constants gain axes of length 1 in front until they have so many.
        """
        if name not in self.graph.constants:
            return self.index[name]
        codes = self.graph.constants[name].astype(self.qparams(name).qtype.dtype)
        added = (rank or codes.ndim) - codes.ndim
        stored = f"{name}.{rank}d" if added else name
        if stored not in self.index:
            wide = codes.reshape((1,) * added + codes.shape)
            self.index[stored] = self.file.constant(stored, to_file(wide), self.qparams(name))
        return self.index[stored]

    def integers(self, name: str, values: Sequence[int] | Sequence[Sequence[int]]) -> int:
        """A constant of axes, sizes or limits."""
        return self.file.constant(name, np.asarray(values, np.int32))

    def emit(
        self,
        node: Node,
        code: str,
        inputs: Sequence[int],
        options: Any = None,
        *,
        version: int | None = None,
    ) -> None:
        """The operator of a node, with its clamp: fused where the operator has that, else behind.

        Args:
            options: of the operator; its fused activation is set here.
        """
        bounds = node.bounds
        if code in FUSING:
            activation = fused(bounds, self.qparams(node.output))
            if activation is not None:
                bounds = None
                functions = self.file.schema.ActivationFunctionType
                options.fusedActivationFunction = getattr(functions, activation)
        shape = file_shape(self.shapes[node.output])
        name = node.output if bounds is None else f"{node.output}.unclamped"
        made = self.codes(name, shape, node.output)
        wide = self.qparams(node.output).qtype == S16
        first = WIDE_VERSIONS.get(code, VERSIONS[code]) if wide else VERSIONS[code]
        self.file.operator(code, inputs, made, options, version=max(first, version or 0))
        self.index[node.output] = self._clamped(node, made, bounds)

    def keep(self, node: Node) -> None:
        """A node that changes no code: its output is the tensor that it reads, but for a clamp."""
        self.index[node.output] = self._clamped(node, self.operand(node.inputs[0]), node.bounds)

    def _clamped(self, node: Node, index: int, bounds: tuple[int, int] | None) -> int:
        if bounds is None:
            return index
        shape = file_shape(self.shapes[node.output])
        return clamp(self.file, index, node.output, shape, self.qparams(node.output), bounds)

    def in_onnx_order(self, name: str) -> int:
        """A tensor whose elements lie one after the other as in ONNX; its shape may not be."""
        return self.operand(name) if same_bytes(self.shapes[name]) else self.channels_first(name)

    def channels_first(self, name: str) -> int:
        """A tensor of four axes in ONNX's order."""
        index, shape = self.operand(name), self.shapes[name]
        made = self.codes(f"{name}{FIRST}", shape, name)
        axes = self.integers(f"{name}.to_channels_first", onnx_axes(len(shape)))
        self.file.operator("TRANSPOSE", [index, axes], made, self.file.schema.TransposeOptionsT())
        return made

    def emit_reshaped(self, node: Node, index: int) -> None:
        """Elements in ONNX's order as the output of a node that reshapes them."""
        shape = self.shapes[node.output]
        if same_bytes(shape):
            self.emit(node, "RESHAPE", *self._reshape(node, index, file_shape(shape)))
        else:
            self.emit_channels_first(node, "RESHAPE", *self._reshape(node, index, shape))

    def emit_channels_first(
        self, node: Node, code: str, inputs: Sequence[int], options: Any
    ) -> None:
        """An operator that writes four axes in ONNX's order, and what moves them to the file's."""
        shape = self.shapes[node.output]
        name = node.output if node.bounds is None else f"{node.output}.unclamped"
        made = self.codes(f"{name}{FIRST}", shape, node.output)
        self.file.operator(code, inputs, made, options)
        axes = self.integers(f"{node.output}.from_channels_first", file_axes(len(shape)))
        self.emit(node, "TRANSPOSE", [made, axes], self.file.schema.TransposeOptionsT())

    def _reshape(self, node: Node, index: int, shape: Shape) -> tuple[list[int], Any]:
        """Inputs and options of a RESHAPE; the first axis follows from the batch."""
        options = self.file.schema.ReshapeOptionsT()
        options.newShape = [-1, *shape[1:]]
        return [index, self.integers(f"{node.output}.shape", options.newShape)], options
