"""The state of one walk over an ONNX file: what each tensor is, and the nodes so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from deployq.errors import InputError
from deployq.qgraph.nodes import Concat, Dequantize, Move, Node, Pool, Rescale
from deployq.qgraph.shapes import Shape, infer_shapes
from deployq.qgraph.stored import stored_array
from deployq.qgraph.values import (
    Clamp,
    CodesOf,
    Constant,
    GraphInput,
    QuantizedConstant,
    Real,
    RealOf,
    Value,
    Waiting,
    describe,
    refuse,
)
from deployq.qparams import FloatArray, IntArray, PerTensor, QParams
from deployq.qtypes import QType

ELEMENT_TYPES: dict[int, QType] = {
    TensorProto.INT2: QType(2, True), TensorProto.UINT2: QType(2, False),
    TensorProto.INT4: QType(4, True), TensorProto.UINT4: QType(4, False),
    TensorProto.INT8: QType(8, True), TensorProto.UINT8: QType(8, False),
    TensorProto.INT16: QType(16, True), TensorProto.UINT16: QType(16, False),
    TensorProto.INT32: QType(32, True),
}  # fmt: skip
"""ONNX element type to QType."""

PENDING = "?"
"""Output name of a node that waits for its QuantizeLinear."""


class Walk:
    """What each tensor is, and the integer nodes so far."""

    def __init__(
        self, model: onnx.ModelProto, *, as_stated: bool = False, joins_sums: bool = False
    ) -> None:
        self._model = model
        self.as_stated, self.joins_sums = as_stated, joins_sums
        self.values: dict[str, Value] = {}
        self.types: dict[str, QType] = {}
        self.qparams: dict[str, QParams] = {}
        self.constants: dict[str, IntArray] = {}
        self.nodes: list[Node] = []
        self.stored = sum(prod(tensor.dims) for tensor in model.graph.initializer)
        self.folded = 0  # elements of computed constants
        self._moved_from: dict[str, str] = {}
        self._dequantized: set[str] = set()
        self.makers = {name: node for node in model.graph.node for name in node.output}
        for tensor in model.graph.initializer:
            self.add_tensor(tensor.name, tensor)
        self.inputs = tuple(i.name for i in model.graph.input if i.name not in self.values)
        for value in model.graph.input:
            if value.name in self.inputs:
                self._add_input(value)

    def _add_input(self, value: onnx.ValueInfoProto) -> None:
        element = value.type.tensor_type.elem_type
        if element in ELEMENT_TYPES:
            self.types[value.name] = ELEMENT_TYPES[element]
            self.values[value.name] = CodesOf(value.name)
        else:
            self.values[value.name] = GraphInput(value.name)

    def add_tensor(self, name: str, tensor: onnx.TensorProto) -> None:
        """Record an initializer or the value of a Constant node.

        Raises:
            InputError: as :func:`deployq.qgraph.stored.stored_array`.
        """
        qtype = ELEMENT_TYPES.get(tensor.data_type)
        self.add_constant(name, stored_array(tensor, name), qtype)

    def add_constant(self, name: str, data: Any, qtype: QType | None = None) -> None:
        """Record a constant; ``qtype`` where its elements can be codes."""
        self.values[name] = Constant(np.asarray(data))
        if qtype is not None:
            self.types[name] = qtype

    # What a node reads

    def value(self, node: onnx.NodeProto, index: int) -> Value:
        """What input ``index`` of a node is."""
        name = node.input[index]
        if name not in self.values:
            raise InputError(
                f"input {index}",
                "a node reads tensors made before it",
                found=name,
                next_step="sort the graph; onnx.checker says more",
            )
        return self.values[name]

    def optional(self, node: onnx.NodeProto, index: int) -> Value | None:
        """As :meth:`value`; None for a missing optional input."""
        if len(node.input) <= index or not node.input[index]:
            return None
        return self.value(node, index)

    def constant(self, node: onnx.NodeProto, index: int) -> np.ndarray[Any, Any]:
        """Data of an input that must be a constant."""
        value = self.value(node, index)
        if not isinstance(value, Constant):
            raise refuse(
                node,
                f"input {index} is constant",
                describe(value),
                next_step="fold constants in the tool that wrote the file",
            )
        return value.data

    def numbers(self, node: onnx.NodeProto, index: int) -> np.ndarray[Any, Any]:
        """As :meth:`constant`, and neither texts nor sizes that the file leaves open."""
        data = self.constant(node, index)
        if data.dtype == object:
            raise refuse(node, f"input {index} is numbers", "texts, or sizes without a number")
        return data

    def scales(self, node: onnx.NodeProto, index: int) -> FloatArray:
        """As :meth:`numbers`, float32 from any floating type."""
        data = self.numbers(node, index)
        if data.dtype.kind in "biu":
            raise refuse(node, f"input {index} is a scale, in float", str(data.dtype))
        return data.astype(np.float32)

    def codes(self, node: onnx.NodeProto, index: int) -> IntArray:
        """As :meth:`numbers`, of an integer type of up to 32 bits."""
        if node.input[index] not in self.types:
            raise refuse(node, f"input {index} is constant codes", "another element type")
        return self.numbers(node, index).astype(np.int64)

    def integers(self, node: onnx.NodeProto, index: int) -> list[Any] | None:
        """Axes, limits or other numbers of an optional constant input."""
        if self.optional(node, index) is None:
            return None
        return list(self.numbers(node, index).reshape(-1).tolist())

    def sizes(self, node: onnx.NodeProto, index: int) -> list[Any] | None:
        """As :meth:`integers`; a size that the file leaves open is its name."""
        if self.optional(node, index) is None:
            return None
        return list(self.constant(node, index).reshape(-1).tolist())

    def operand(self, node: onnx.NodeProto, index: int) -> str:
        """Name of the codes behind an input that must be reals read from codes."""
        real = node.input[index]
        self.settle(real)
        value = self.value(node, index)
        if isinstance(value, QuantizedConstant):
            name = self.add_codes(real, value)
        elif isinstance(value, RealOf):
            name = value.codes
        else:
            raise refuse(node, f"input {index} comes from a DequantizeLinear", describe(value))
        granularity = self.qparams[name].granularity
        if not isinstance(granularity, PerTensor) and not self.as_stated:
            raise refuse(
                node,
                "an operand has one scale",
                f"{name} has {granularity}",
                "per tensor",
                next_step="quantize activations per tensor",
            )
        return name

    def read_codes(self, name: str, qparams: QParams, alias: str) -> str:
        """Codes read with these parameters: ``name``, or ``alias`` if they have others already."""
        known = self.qparams.get(name)
        if known is None:
            self._learn(name, qparams)
        elif known != qparams:
            alias = self.fresh(alias)
            made = Move(name=alias, op_type="Identity", inputs=(name,), output=alias)
            self.emit(made, qparams)
            return alias
        return name

    def _learn(self, name: str | None, qparams: QParams) -> None:
        """A graph input that is codes takes its first reader's parameters, through moves."""
        while name is not None and name not in self.qparams:
            self.qparams[name] = qparams
            name = self._moved_from.get(name)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the file's tensors; inferred when first asked for."""
        return infer_shapes(self._model)

    # What a node writes

    def wait(self, node: onnx.NodeProto, made: Node) -> None:
        """The QuantizeLinear after a node states its parameters and emits it."""
        self.values[node.output[0]] = Waiting(made)

    def place(self, node: onnx.NodeProto, made: Node, *, operands: int = 1) -> None:
        """An operator that moves codes: emitted at once on codes, else as :meth:`wait`.

        Args:
            made: without inputs.
            operands: how many of the node's inputs are moved.
        """
        values = [self.value(node, index) for index in range(operands)]
        names = [value.name for value in values if isinstance(value, CodesOf)]
        if len(names) < operands:
            inputs = tuple(self.operand(node, index) for index in range(operands))
            self.wait(node, replace(made, inputs=inputs))
            return
        known = {self.qparams.get(name) for name in names}
        if len(known) > 1 or (operands > 1 and None in known):
            raise refuse(node, "codes that are joined have the same parameters", ", ".join(names))
        made = replace(made, inputs=tuple(names), output=node.output[0])
        if names[0] in self.qparams:
            self.emit(made, self.qparams[names[0]])
        else:
            self._emit_unknown(made)

    def _emit_unknown(self, made: Node) -> None:
        """Codes whose parameters a DequantizeLinear further on states."""
        self.nodes.append(made)
        self.types[made.output] = self.types[made.inputs[0]]
        self.values[made.output] = CodesOf(made.output)
        self._moved_from[made.output] = made.inputs[0]

    def emit(self, node: Node, qparams: QParams) -> None:
        """Add a finished node; its output is a code tensor with these parameters."""
        self.nodes.append(node)
        self.qparams[node.output] = qparams
        self.types[node.output] = qparams.qtype
        self.values[node.output] = CodesOf(node.output)

    def emit_as(self, node: Node, output: str, qparams: QParams) -> None:
        """Emit under its output's name; moved codes that change parameters are then rescaled."""
        kept = self._kept_qparams(node)
        if isinstance(node, Move | Pool) and kept is not None and kept != qparams:
            moved = replace(node, output=self.fresh(f"{output}.moved"), bounds=None)
            self.emit(moved, kept)
            node = Rescale(
                name=node.name, op_type="QuantizeLinear", inputs=(moved.output,), output=output,
                bounds=node.bounds,
            )  # fmt: skip
        self.emit(replace(node, output=output), qparams)

    def _kept_qparams(self, node: Node) -> QParams | None:
        """The parameters of a node's operands, if it moves their codes as they are."""
        if not isinstance(node, Move | Concat) and node.op_type != "MaxPool":
            return None
        known = {self.qparams[name] for name in node.inputs}
        return known.pop() if len(known) == 1 else None

    def settle(self, real: str) -> None:
        """Emit a node that moves codes and that no QuantizeLinear follows."""
        value = self.values.get(real)
        if not isinstance(value, Waiting) or value.clamp != Clamp():
            return
        qparams, name = self._kept_qparams(value.node), self.fresh(f"{real}.codes")
        if qparams is not None:
            self.emit(replace(value.node, output=name), qparams)
            self.values[real] = RealOf(name)

    def real(self, node: onnx.NodeProto, index: int) -> str:
        """Name of the reals of an input; codes get their Dequantize, once."""
        name = str(node.input[index])
        self.settle(name)
        value = self.value(node, index)
        if isinstance(value, Real) or (isinstance(value, GraphInput) and value.clamp == Clamp()):
            return value.name
        if not isinstance(value, RealOf):
            raise refuse(
                node,
                "an operator in float reads reals",
                describe(value),
                next_step="add QuantizeLinear and DequantizeLinear between it and the operator "
                "before it",
            )
        self.dequantize(name, value.codes)
        return name

    def dequantize(self, name: str, codes: str) -> None:
        """Make codes reals of this name; once, however often it is asked for."""
        if name not in self._dequantized:
            made = Dequantize(name=name, op_type="DequantizeLinear", inputs=(codes,), output=name)
            self.nodes.append(made)
            self._dequantized.add(name)

    @cached_property
    def opset(self) -> int:
        """Version of the standard operators."""
        standard = (o.version for o in self._model.opset_import if o.domain in ("", "ai.onnx"))
        return int(max(standard, default=1))

    def fresh(self, name: str) -> str:
        """The name, or with a quote where the file has a tensor of this name."""
        return self.fresh(f"{name}'") if name in self.makers else name

    def add_codes(self, real: str, constant: QuantizedConstant) -> str:
        """Name of dequantized constant codes that are an operand."""
        name = self.fresh(f"{real}.codes")
        self.constants[name], self.qparams[name] = constant.codes, constant.qparams
        return name


Handler = Callable[[Walk, onnx.NodeProto], None]
"""Reads one ONNX node."""
