"""Operators that a file leaves in float: read as they stand, between reals and reals."""

from __future__ import annotations

from dataclasses import replace

import onnx

from deployq import affine
from deployq.qgraph.joined_sums import joins_a_layer
from deployq.qgraph.nodes import Float, Linear, MatMul, Product
from deployq.qgraph.opsets import DEFAULT_DOMAIN
from deployq.qgraph.values import (
    Clamp,
    Constant,
    GraphInput,
    QuantizedConstant,
    Real,
    Value,
    Waiting,
    attributes,
    label,
    refuse,
)
from deployq.qgraph.walk import Handler, Walk

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with a weight, input 1."""
MATRIX = ("Gemm", "MatMul")
"""Those whose integer kernels may return reals in some runtimes."""
SUMS = ("Add", "Mul")
OWN = ("QuantizeLinear", "DequantizeLinear", "Shape", "Constant")
"""Operators with one meaning, whatever they read."""
SOFTMAX_OF_ONE_AXIS = 13
"""First opset of it."""
CLAMPS = ("Relu", "Clip")
"""Operators that may stand between a real graph input and its QuantizeLinear."""


def runs_in_float(walk: Walk, node: onnx.NodeProto, handler: Handler | None) -> bool:
    """True for an operator of ONNX without an integer form, or one that reads reals or plain
    float weights.
    """
    if node.domain not in DEFAULT_DOMAIN or node.op_type in OWN:
        return False
    if handler is None:
        return True
    if node.op_type == "Resize" and attributes(node).get("mode", "nearest") != "nearest":
        return True
    if node.op_type == "Softmax" and not _is_over_last_axis(walk, node):
        return True
    values = [walk.values.get(name) for name in node.input if name]
    if node.op_type == "Softmax" and isinstance(values[0], QuantizedConstant):
        return True
    if any(isinstance(value, Real) for value in values):
        return True
    if any(isinstance(value, GraphInput) for value in values[1:]):
        return True
    if isinstance(values[0], GraphInput):
        return node.op_type not in CLAMPS
    return _has_float_weight(node, values)


def _is_over_last_axis(walk: Walk, node: onnx.NodeProto) -> bool:
    """Before opset 13 the operator works on all axes from the given one on."""
    axis = attributes(node).get("axis", -1)
    rank = len(walk.shapes.get(node.input[0], ()))
    return walk.opset >= SOFTMAX_OF_ONE_AXIS and axis in (-1, rank - 1 if rank else -1)


def _has_float_weight(node: onnx.NodeProto, values: list[Value | None]) -> bool:
    if node.op_type in PRODUCTS:
        return isinstance(values[1], Constant) and not isinstance(values[0], Waiting)
    waits = any(isinstance(value, Waiting) for value in values)  # then the constant is its bias
    constant = any(isinstance(value, Constant) for value in values)
    return node.op_type in SUMS and constant and not waits


def settle_in_float(walk: Walk, node: onnx.NodeProto) -> None:
    """What this node reads without a QuantizeLinear was computed in float, and is read again so.

    Of what waits for its QuantizeLinear, clamps, a bias and a sum that joins are part; what moves
    codes settles.
    """
    if node.op_type in ("QuantizeLinear", *CLAMPS):
        return
    names = [name for name in node.input if isinstance(walk.values.get(name), Waiting)]
    if node.op_type == "Add" and len(names) == 1 and _adds_bias(walk, node, names[0]):
        return
    if joins_a_layer(walk, node):
        return
    for name in names:
        settle_tensor(walk, name)


def settle_tensor(walk: Walk, name: str) -> None:
    """No QuantizeLinear follows: codes that were moved are codes, a product with weights or of two
    activations returns what its exact sums stand for, all else was made in float, a sum that joined
    a layer as well.
    """
    walk.settle(name)
    value = walk.values.get(name)
    if not isinstance(value, Waiting):
        return
    product = _product(value)
    if product is not None:
        walk.nodes.append(replace(product, output=name, in_reals=True))
        walk.values[name] = Real(name)
    else:
        _read_again(walk, name)


def _product(value: Waiting) -> Product | None:
    """A product alone: a sum that joined it comes apart again, and so does a clamp."""
    node = value.node
    if not isinstance(node, Product) or node.op_type not in MATRIX:
        return None
    joined = isinstance(node, Linear) and node.addend is not None
    return None if joined or value.clamp != Clamp() else node


def _adds_bias(walk: Walk, node: onnx.NodeProto, product: str) -> bool:
    """A constant beside what waits, but for a product of two activations, which has no bias."""
    values = [walk.values.get(name) for name in node.input]
    waiting = walk.values[product]
    if isinstance(waiting, Waiting) and isinstance(waiting.node, MatMul):
        return False
    return any(isinstance(value, Constant | QuantizedConstant) for value in values)


def _read_again(walk: Walk, name: str) -> None:
    """The operator that makes a waiting tensor, and those before it that wait as well."""
    maker = walk.makers[name]
    for before in maker.input:
        settle_tensor(walk, before)
    read_float(walk, maker)


def read_float(walk: Walk, node: onnx.NodeProto) -> None:
    """Record an operator in float.

    Raises:
        UnsupportedError: it has several outputs, or reads what is neither reals nor constant.
    """
    outputs = [name for name in node.output if name]
    if len(outputs) != 1:
        raise refuse(node, "an operator in float has one output", ", ".join(outputs), "one")
    inputs, constants = [], {}
    for index, name in enumerate(node.input):
        value = walk.optional(node, index)
        if isinstance(value, Constant):
            constants[name] = value.data
        elif isinstance(value, QuantizedConstant):
            constants[name] = affine.dequantize(value.codes, value.qparams)
        elif value is not None:
            inputs.append(walk.real(node, index))
    symbolic = [name for name, data in constants.items() if data.dtype == object]
    if symbolic:
        raise refuse(node, "an operator in float has constant sizes", f"{symbolic[0]}, symbolic")
    made = Float(
        name=label(node), op_type=node.op_type, inputs=tuple(inputs), output=outputs[0],
        operator=node, opset=walk.opset, constants=constants,
    )  # fmt: skip
    walk.nodes.append(made)
    walk.values[outputs[0]] = Real(outputs[0])
