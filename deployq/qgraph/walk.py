"""The state of one walk over an ONNX file: what each tensor is, and the nodes so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from deployq.errors import InputError, UnsupportedError
from deployq.qgraph.nodes import Dequantize, IntegerGraph, Move, Node, Rescale
from deployq.qgraph.values import (
    CodesOf,
    Constant,
    GraphInput,
    RealOf,
    Value,
    Waiting,
    label,
    refuse,
)
from deployq.qparams import QParams
from deployq.qtypes import QType

ELEMENT_TYPES: dict[int, QType] = {
    getattr(onnx.TensorProto, name): qtype
    for name, qtype in {
        "INT2": QType(2, True), "UINT2": QType(2, False), "INT4": QType(4, True),
        "UINT4": QType(4, False), "INT8": QType(8, True), "UINT8": QType(8, False),
        "INT16": QType(16, True), "UINT16": QType(16, False), "INT32": QType(32, True),
    }.items()
}  # fmt: skip
"""ONNX element type to QType."""

PENDING = "?"
"""Output name of a node that waits for its QuantizeLinear."""


class Walk:
    """What each tensor is, and the integer nodes so far."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.values: dict[str, Value] = {}
        self.types: dict[str, QType] = {}
        self.qparams: dict[str, QParams] = {}
        self.nodes: list[Node] = []
        for tensor in graph.initializer:
            self.add_constant(tensor.name, numpy_helper.to_array(tensor), tensor.data_type)
        initial = {tensor.name for tensor in graph.initializer}
        self.inputs = tuple(i.name for i in graph.input if i.name not in initial)
        for value in graph.input:
            element = value.type.tensor_type.elem_type
            if value.name in initial:
                continue
            if element in ELEMENT_TYPES:
                self.types[value.name] = ELEMENT_TYPES[element]
                self.values[value.name] = CodesOf(value.name)
            else:
                self.values[value.name] = GraphInput(value.name)

    def add_constant(self, name: str, data: Any, element: int) -> None:
        """Record an initializer or Constant node."""
        self.values[name] = Constant(np.asarray(data))
        if element in ELEMENT_TYPES:
            self.types[name] = ELEMENT_TYPES[element]

    def value(self, node: onnx.NodeProto, index: int) -> Value:
        """What input ``index`` of a node is."""
        name = node.input[index]
        if name not in self.values:
            raise InputError(
                f"node {label(node)}", "a node reads tensors made before it", found=name,
                next_step="sort the graph; onnx.checker says more",
            )
        return self.values[name]

    def optional(self, node: onnx.NodeProto, index: int) -> Value | None:
        """As :meth:`value`; None for a missing optional input."""
        if len(node.input) <= index or not node.input[index]:
            return None
        return self.value(node, index)

    def constant(self, node: onnx.NodeProto, index: int) -> np.ndarray[Any, Any]:
        """Data of an input that must be an initializer."""
        value = self.value(node, index)
        if not isinstance(value, Constant):
            raise refuse(node, f"input {index} must be constant", type(value).__name__)
        return value.data

    def codes(self, node: onnx.NodeProto, index: int) -> RealOf:
        """An input that must be reals read from codes; moved codes need no QuantizeLinear."""
        self._settle(node.input[index])
        value = self.value(node, index)
        if not isinstance(value, RealOf):
            raise refuse(
                node, f"input {index} must come from a DequantizeLinear", type(value).__name__
            )
        return value

    def emit(self, node: Node, qparams: QParams) -> None:
        """Add a finished node; its output is a code tensor on this grid."""
        self.nodes.append(node)
        self.qparams[node.output] = qparams
        self.types[node.output] = qparams.qtype.container
        self.values[node.output] = CodesOf(node.output)

    def emit_as(self, node: Node, output: str, qparams: QParams) -> None:
        """Emit a node under its output's name; codes that change grid are moved, then rescaled."""
        if _moves(node) and self.qparams[node.inputs[0]] != qparams:
            moved = replace(node, output=f"{output}.moved", bounds=None)
            self.emit(moved, self.qparams[node.inputs[0]])
            node = Rescale(
                name=node.name, op_type="Concat", inputs=(moved.output,), output=output,
                bounds=node.bounds,
            )  # fmt: skip
        self.emit(replace(node, output=output), qparams)

    def _settle(self, name: str) -> None:
        """Emit a moving node that waits for a QuantizeLinear that the file does not have."""
        value = self.values.get(name)
        if isinstance(value, Waiting) and _moves(value.node) and np.isinf(value.low):
            qparams = self.qparams[value.node.inputs[0]]
            self.emit(replace(value.node, output=f"{name}.codes"), qparams)
            self.values[name] = RealOf(f"{name}.codes", qparams)

    def finish(self, graph: onnx.GraphProto) -> IntegerGraph:
        """Add what leaves the graph and freeze everything."""
        outputs = []
        for value in graph.output:
            self._settle(value.name)
            known = self.values.get(value.name)
            if isinstance(known, RealOf):
                self.nodes.append(
                    Dequantize(
                        name=value.name, op_type="DequantizeLinear", inputs=(known.codes,),
                        output=value.name,
                    )
                )
            elif not isinstance(known, CodesOf):
                raise UnsupportedError(
                    f"output {value.name}", "a graph output is codes, or reals read from codes",
                    found=type(known).__name__,
                    next_step="add QuantizeLinear and DequantizeLinear before the output",
                )
            outputs.append(value.name)
        return IntegerGraph(tuple(self.nodes), dict(self.qparams), self.inputs, tuple(outputs))


def _moves(node: Node) -> bool:
    return isinstance(node, Move) or node.op_type == "MaxPool"


Handler = Callable[[Walk, onnx.NodeProto], None]
