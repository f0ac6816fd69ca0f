"""Operators that pass their input on in inference."""

from __future__ import annotations

import onnx
from torch import Tensor

from deployq.graph.onnx_import.arguments import expect, number
from deployq.graph.onnx_import.node import OnnxNode, Value
from deployq.graph.onnx_import.operators.operator import ALL, Operator


def identity(node: OnnxNode, x: Tensor) -> Tensor:
    return x


def dropout(node: OnnxNode, x: Tensor, ratio: Value = None, training: Value = None) -> Tensor:
    """Dropout-7 to 22 in inference."""
    on = number(node, training, "training_mode", False)
    expect(node, not on, "dropout is off in inference", "training_mode true", "false")
    return x


def cast(node: OnnxNode, x: Tensor) -> Tensor:
    """Cast-6 to 25 of float32 to itself."""
    kind = onnx.TensorProto.DataType.Name(node.get("to"))
    expect(node, kind == "FLOAT", "activations are float32", f"a Cast to {kind}", "FLOAT")
    return x


OPERATORS = {
    "Identity": Operator(identity),
    "Dropout": Operator(dropout, static=ALL),
    "Cast": Operator(cast),
}
