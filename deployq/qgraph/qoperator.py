"""QOperator form: QLinearConv and QLinearMatMul of ONNX, and ONNX Runtime's com.microsoft set."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from deployq.arithmetic.oracle.lookup import UnaryParams
from deployq.qgraph.nodes import Concat, Elementwise, Linear, Lookup, MatMul, Node, Pool
from deployq.qgraph.qdq import conv_geometry, pool_geometry
from deployq.qgraph.values import CodesOf, Constant, as_codes, attributes, label, refuse
from deployq.qgraph.walk import Handler, Walk
from deployq.qparams import PerChannel, PerTensor, QParams

MICROSOFT = "com.microsoft"


def _qparams(walk: Walk, node: onnx.NodeProto, data: int, scale: int, axis: int = 0) -> QParams:
    """Parameters from a scale input and the zero point after it; the type is the data's or its."""
    scales = walk.constant(node, scale).astype(np.float32)
    zero_point = as_codes(walk.constant(node, scale + 1))
    qtype = walk.types[node.input[data] if data >= 0 else node.input[scale + 1]]
    if scales.size == 1:
        return QParams(qtype, scales.reshape(()), zero_point.reshape(-1)[0], PerTensor())
    return QParams(qtype, scales.reshape(-1), zero_point.reshape(-1), PerChannel(axis))


def _operand(walk: Walk, node: onnx.NodeProto, index: int) -> str:
    """Name of a code tensor whose parameters are the two inputs after it."""
    value = walk.value(node, index)
    if not isinstance(value, CodesOf):
        raise refuse(node, f"input {index} must be codes", type(value).__name__)
    qparams = _qparams(walk, node, index, index + 1)
    known = walk.qparams.setdefault(value.name, qparams)
    if known != qparams:
        raise refuse(
            node, "codes are read with the parameters they were written with",
            f"scale {qparams.scale}", f"scale {known.scale}",
        )
    return value.name


def _bias(walk: Walk, node: onnx.NodeProto, index: int) -> Any:
    if walk.optional(node, index) is None:
        return None
    return as_codes(walk.constant(node, index)).reshape(-1)


def _conv(walk: Walk, node: onnx.NodeProto) -> None:
    if attributes(node).get("channels_last", 0):
        raise refuse(node, "QLinearConv is channels first", "channels_last = 1")
    x, weight = _operand(walk, node, 0), as_codes(walk.constant(node, 3))
    made = Linear(
        name=label(node), op_type="Conv", inputs=(x,), output=node.output[0], weight=weight,
        weight_qparams=_qparams(walk, node, 3, 4), bias=_bias(walk, node, 8),
        geometry=conv_geometry(node, weight.shape[2:]),
    )  # fmt: skip
    walk.emit(made, _qparams(walk, node, -1, 6))


def _gemm(walk: Walk, node: onnx.NodeProto) -> None:
    facts = attributes(node)
    if facts.get("alpha", 1.0) != 1.0 or facts.get("transA", 0):
        raise refuse(node, "QGemm has alpha 1 and no transA", str(facts))
    if walk.optional(node, 7) is None:
        raise refuse(node, "QGemm writes codes", "a float output")
    x, weight = _operand(walk, node, 0), as_codes(walk.constant(node, 3))
    weight = weight.T if facts.get("transB", 0) else weight
    made = Linear(
        name=label(node), op_type="Gemm", inputs=(x,), output=node.output[0], weight=weight,
        weight_qparams=_qparams(walk, node, 3, 4, axis=1), bias=_bias(walk, node, 6),
    )  # fmt: skip
    walk.emit(made, _qparams(walk, node, -1, 7))


def _matmul(walk: Walk, node: onnx.NodeProto) -> None:
    a, out = _operand(walk, node, 0), _qparams(walk, node, -1, 6)
    made: Node
    if isinstance(walk.value(node, 3), Constant):
        weight = as_codes(walk.constant(node, 3))
        made = Linear(
            name=label(node), op_type="MatMul", inputs=(a,), output=node.output[0],
            weight=weight, weight_qparams=_qparams(walk, node, 3, 4, axis=1), bias=None,
        )  # fmt: skip
    else:
        inputs = (a, _operand(walk, node, 3))
        made = MatMul(name=label(node), op_type="MatMul", inputs=inputs, output=node.output[0])
    walk.emit(made, out)


def _elementwise(walk: Walk, node: onnx.NodeProto) -> None:
    inputs = (_operand(walk, node, 0), _operand(walk, node, 3))
    operator = node.op_type.removeprefix("QLinear")
    made = Elementwise(name=label(node), op_type=operator, inputs=inputs, output=node.output[0])
    walk.emit(made, _qparams(walk, node, -1, 6))


def _pool(walk: Walk, node: onnx.NodeProto) -> None:
    if attributes(node).get("channels_last", 0):
        raise refuse(node, "pools are channels first", "channels_last = 1")
    operator = node.op_type.removeprefix("QLinear")
    geometry = pool_geometry(node) if operator == "AveragePool" else None
    inputs = (_operand(walk, node, 0),)
    made = Pool(
        name=label(node), op_type=operator, inputs=inputs, output=node.output[0], geometry=geometry
    )
    walk.emit(made, _qparams(walk, node, -1, 3))


def _concat(walk: Walk, node: onnx.NodeProto) -> None:
    inputs = tuple(_operand(walk, node, index) for index in range(2, len(node.input), 3))
    axis = attributes(node)["axis"]
    made = Concat(
        name=label(node), op_type="Concat", inputs=inputs, output=node.output[0], axis=axis
    )
    walk.emit(made, _qparams(walk, node, -1, 0))


def _function(walk: Walk, node: onnx.NodeProto) -> None:
    params = UnaryParams(alpha=attributes(node).get("alpha", 0.01))
    operator, inputs = node.op_type.removeprefix("QLinear"), (_operand(walk, node, 0),)
    made = Lookup(
        name=label(node), op_type=operator, inputs=inputs, output=node.output[0], params=params
    )
    walk.emit(made, _qparams(walk, node, -1, 3))


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    (MICROSOFT, "QGemm"): _gemm,
    (MICROSOFT, "QLinearAdd"): _elementwise,
    (MICROSOFT, "QLinearMul"): _elementwise,
    (MICROSOFT, "QLinearGlobalAveragePool"): _pool,
    (MICROSOFT, "QLinearAveragePool"): _pool,
    (MICROSOFT, "QLinearConcat"): _concat,
    (MICROSOFT, "QLinearSigmoid"): _function,
    (MICROSOFT, "QLinearLeakyRelu"): _function,
}
