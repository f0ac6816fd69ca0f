"""QOperator form: QLinearConv and QLinearMatMul of ONNX, and ONNX Runtime's com.microsoft set.

Operands come as (codes, scale, zero point); the output's scale and zero point are inputs too.
"""

from __future__ import annotations

import numpy as np
import onnx

from deployq.arithmetic.oracle.lookup import UnaryParams
from deployq.qgraph.nodes import Concat, Elementwise, Linear, Lookup, MatMul, Node, Pool
from deployq.qgraph.signatures import MICROSOFT
from deployq.qgraph.values import CodesOf, Constant, attributes, describe, label, refuse
from deployq.qgraph.walk import Handler, Walk
from deployq.qgraph.windows import check_channels, conv_geometry, pool_geometry
from deployq.qparams import IntArray, PerChannel, PerTensor, QParams
from deployq.qtypes import QType

INT32 = QType(32, True)
"""Type of the biases of QLinearConv and QGemm."""


def _qparams(walk: Walk, node: onnx.NodeProto, scale: int, data: int, *, axis: int = 0) -> QParams:
    """Parameters from input ``scale`` and the zero point after it.

    Args:
        data: an input whose element type the codes have, where no zero point states it.
        axis: of the output channels, where there are several scales.
    """
    scales = walk.scales(node, scale)
    zero_point: IntArray = np.zeros(1, np.int64)
    qtype = walk.types.get(node.input[data])
    if walk.optional(node, scale + 1) is not None:
        zero_point = walk.codes(node, scale + 1).reshape(-1)
        qtype = walk.types.get(node.input[scale + 1])
    if qtype is None:
        raise refuse(node, "codes and zero points are integers", "another element type")
    if scales.size == 1 and zero_point.size == 1:
        return QParams(qtype, scales.reshape(()), zero_point[0], PerTensor())
    channels = max(scales.size, zero_point.size)  # one scale may go with many zero points
    if {scales.size, zero_point.size} - {1, channels}:
        raise refuse(
            node,
            "scale and zero point have the same shape",
            f"{scales.size}, {zero_point.size}",
            next_step="repair the node in the tool that wrote the file",
        )
    return QParams(
        qtype, np.broadcast_to(scales.reshape(-1), channels), zero_point, PerChannel(axis)
    )


def _activation(walk: Walk, node: onnx.NodeProto, scale: int, data: int) -> QParams:
    """As :func:`_qparams`, of an operand or of the output."""
    qparams = _qparams(walk, node, scale, data)
    if not isinstance(qparams.granularity, PerTensor) and not walk.as_stated:
        raise refuse(node, "an operand has one scale", f"input {scale} has several", "per tensor")
    return qparams


def _operand(walk: Walk, node: onnx.NodeProto, index: int) -> str:
    """Name of a code tensor, perhaps constant, whose parameters are the two inputs after it."""
    value, name = walk.value(node, index), node.input[index]
    qparams = _activation(walk, node, index + 1, index)
    if isinstance(value, Constant):
        walk.constants[name] = walk.codes(node, index)
    elif isinstance(value, CodesOf):
        name = value.name
    else:
        raise refuse(node, f"input {index} is codes", describe(value))
    return walk.read_codes(name, qparams, f"{node.output[0]}.input{index}")


def _bias(walk: Walk, node: onnx.NodeProto, index: int) -> IntArray | None:
    """Codes with scale ``s_x * s_w``, which the operator does not state."""
    if walk.optional(node, index) is None:
        return None
    return walk.codes(node, index).reshape(-1)


def _conv(walk: Walk, node: onnx.NodeProto) -> None:
    _channels_first(node)
    weight = walk.codes(node, 3)
    made = Linear(
        name=label(node), op_type="Conv", inputs=(_operand(walk, node, 0),),
        output=node.output[0], weight=weight, weight_qparams=_qparams(walk, node, 4, 3),
        bias=_bias(walk, node, 8), bias_type=INT32,
        geometry=conv_geometry(walk, node, weight.shape[2:]),
    )  # fmt: skip
    check_channels(walk, node, made.geometry, weight.shape)
    walk.emit(made, _activation(walk, node, 6, 0))


def _gemm(walk: Walk, node: onnx.NodeProto) -> None:
    facts = attributes(node)
    if facts.get("alpha", 1.0) != 1.0 or facts.get("transA", 0):
        raise refuse(node, "QGemm has alpha 1 and no transA", str(facts))
    if walk.optional(node, 7) is None:
        raise refuse(node, "QGemm writes codes", "a float output")
    weight = walk.codes(node, 3)
    made = Linear(
        name=label(node), op_type="Gemm", inputs=(_operand(walk, node, 0),),
        output=node.output[0], weight=weight.T if facts.get("transB", 0) else weight,
        weight_qparams=_qparams(walk, node, 4, 3, axis=1), bias=_bias(walk, node, 6),
        bias_type=INT32,
    )  # fmt: skip
    walk.emit(made, _activation(walk, node, 7, 0))


def _matmul(walk: Walk, node: onnx.NodeProto) -> None:
    a, right = _operand(walk, node, 0), walk.value(node, 3)
    made: Node
    if isinstance(right, Constant) and right.data.ndim == 2:
        made = Linear(
            name=label(node), op_type="MatMul", inputs=(a,), output=node.output[0],
            weight=walk.codes(node, 3), weight_qparams=_qparams(walk, node, 4, 3, axis=1),
            bias=None,
        )  # fmt: skip
    else:
        b = _operand(walk, node, 3)
        made = MatMul(
            name=label(node), op_type="MatMul", inputs=(a, b), output=node.output[0],
            shifted=walk.qparams[b].is_shifted,
        )  # fmt: skip
    walk.emit(made, _activation(walk, node, 6, 0))


def _elementwise(walk: Walk, node: onnx.NodeProto) -> None:
    made = Elementwise(
        name=label(node), op_type=node.op_type.removeprefix("QLinear"),
        inputs=(_operand(walk, node, 0), _operand(walk, node, 3)), output=node.output[0],
    )  # fmt: skip
    walk.emit(made, _activation(walk, node, 6, 0))


def _pool(walk: Walk, node: onnx.NodeProto) -> None:
    _channels_first(node)
    operator = node.op_type.removeprefix("QLinear")
    made = Pool(
        name=label(node), op_type=operator, inputs=(_operand(walk, node, 0),),
        output=node.output[0],
        geometry=pool_geometry(walk, node) if operator == "AveragePool" else None,
    )  # fmt: skip
    walk.emit(made, _activation(walk, node, 3, 0))


def _channels_first(node: onnx.NodeProto) -> None:
    if attributes(node).get("channels_last", 0):
        raise refuse(node, "tensors are channels first", "channels_last = 1")


def _concat(walk: Walk, node: onnx.NodeProto) -> None:
    inputs = tuple(_operand(walk, node, index) for index in range(2, len(node.input), 3))
    axis = attributes(node)["axis"]
    made = Concat(
        name=label(node), op_type="Concat", inputs=inputs, output=node.output[0], axis=axis
    )
    walk.emit(made, _activation(walk, node, 0, 2))


def _function(walk: Walk, node: onnx.NodeProto) -> None:
    made = Lookup(
        name=label(node), op_type=node.op_type.removeprefix("QLinear"),
        inputs=(_operand(walk, node, 0),), output=node.output[0],
        params=UnaryParams(alpha=attributes(node).get("alpha")),
    )  # fmt: skip
    walk.emit(made, _activation(walk, node, 3, 0))


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
