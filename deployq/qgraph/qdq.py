"""QDQ form: DequantizeLinear - operator - QuantizeLinear.

An operator on dequantized tensors becomes a :class:`Waiting` node; Relu and Clip narrow it; the
QuantizeLinear after it states its output parameters and emits it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from deployq import affine
from deployq.arithmetic.geometry import ConvGeometry, PoolGeometry
from deployq.arithmetic.oracle.lookup import UnaryParams
from deployq.qgraph.nodes import (
    Bounds,
    Concat,
    Elementwise,
    Linear,
    Lookup,
    MatMul,
    Pool,
    Quantize,
    Rescale,
)
from deployq.qgraph.values import (
    CodesOf,
    Constant,
    GraphInput,
    QuantizedConstant,
    RealOf,
    Value,
    Waiting,
    as_codes,
    attributes,
    label,
    refuse,
)
from deployq.qgraph.walk import ELEMENT_TYPES, PENDING, Handler, Walk
from deployq.qparams import PerBlock, PerChannel, PerTensor, QParams
from deployq.qtypes import QType

BIAS_SCALE_RTOL = 1e-6
"""A bias scale may differ from ``s_x * s_w`` by float32 rounding, no more."""


def qparams_of(walk: Walk, node: onnx.NodeProto, qtype: QType, rank: int | None) -> QParams:
    """Scale (input 1), zero point (input 2), axis and block size of a Q or DQ node."""
    scale = walk.constant(node, 1).astype(np.float32)
    zero_point = np.zeros((), np.int64)
    if walk.optional(node, 2) is not None:
        zero_point = as_codes(walk.constant(node, 2))
    facts = attributes(node)
    if scale.size == 1 and not facts.get("block_size"):
        return QParams(qtype, scale.reshape(()), zero_point.reshape(()), PerTensor())
    axis = facts.get("axis", 1)
    axis = axis + rank if axis < 0 and rank is not None else axis
    if facts.get("block_size"):
        return QParams(qtype, scale, zero_point, PerBlock(axis, facts["block_size"]))
    return QParams(qtype, scale, zero_point, PerChannel(axis))


def _code_type(walk: Walk, node: onnx.NodeProto) -> QType:
    """Type that a QuantizeLinear writes: the zero point's, ``output_dtype``, or uint8."""
    if len(node.input) > 2 and node.input[2] in walk.types:
        return walk.types[node.input[2]]
    element = attributes(node).get("output_dtype", 0) or onnx.TensorProto.UINT8
    if element not in ELEMENT_TYPES:
        raise refuse(node, "codes are integers", onnx.TensorProto.DataType.Name(element))
    return ELEMENT_TYPES[element]


def _dequantize(walk: Walk, node: onnx.NodeProto) -> None:
    name, value = node.input[0], walk.value(node, 0)
    if isinstance(value, (Constant, CodesOf)) and name not in walk.types:
        raise refuse(node, "a DequantizeLinear reads integers", "another element type")
    qtype = walk.types.get(name, QType(8, False))
    if isinstance(value, Constant):
        qparams = qparams_of(walk, node, qtype, value.data.ndim)
        walk.values[node.output[0]] = QuantizedConstant(as_codes(value.data), qparams)
    elif isinstance(value, CodesOf):
        qparams = qparams_of(walk, node, qtype, None)
        known = walk.qparams.setdefault(value.name, qparams)
        if known != qparams:
            raise refuse(
                node, "codes are read with the parameters they were written with",
                f"scale {qparams.scale}, zero point {qparams.zero_point}",
                f"scale {known.scale}, zero point {known.zero_point}",
            )
        walk.values[node.output[0]] = RealOf(value.name, qparams)
    else:
        raise refuse(node, "a DequantizeLinear reads codes", type(value).__name__)


def _quantize(walk: Walk, node: onnx.NodeProto) -> None:
    qparams = qparams_of(walk, node, _code_type(walk, node), None)
    value, output = walk.value(node, 0), node.output[0]
    name = label(node)
    if isinstance(value, Waiting):
        bounds = code_bounds(value, qparams)
        walk.emit_as(replace(value.node, bounds=bounds), output, qparams)
    elif isinstance(value, GraphInput):
        inputs = (value.name,)
        walk.emit(
            Quantize(name=name, op_type="QuantizeLinear", inputs=inputs, output=output), qparams
        )
    elif isinstance(value, RealOf):
        inputs = (value.codes,)
        walk.emit(Rescale(name=name, op_type="Concat", inputs=inputs, output=output), qparams)
    else:
        raise refuse(node, "a QuantizeLinear reads reals", type(value).__name__)


def code_bounds(value: Waiting, qparams: QParams) -> Bounds | None:
    """The codes that the clamp before a QuantizeLinear leaves; None when it leaves all."""
    if np.isinf(value.low) and np.isinf(value.high):
        return None
    edges = np.clip([value.low, value.high], -3e38, 3e38).astype(np.float32)
    low, high = (int(code) for code in affine.quantize(edges, qparams))
    whole = (qparams.qtype.qmin, qparams.qtype.qmax)
    return None if (low, high) == whole else (low, high)


def _wait(walk: Walk, node: onnx.NodeProto, made: Any) -> None:
    walk.values[node.output[0]] = Waiting(made)


def clamp(walk: Walk, node: onnx.NodeProto) -> None:
    """Relu or Clip of reals: narrow the operator that waits, or look up in a table."""
    low, high = _clamp_limits(walk, node)
    value = walk.value(node, 0)
    if isinstance(value, Waiting):
        narrowed = replace(value, low=max(value.low, low), high=min(value.high, high))
        walk.values[node.output[0]] = narrowed
        return
    params = UnaryParams(low=low, high=high)
    _unary(walk, node, params)


def _clamp_limits(walk: Walk, node: onnx.NodeProto) -> tuple[float, float]:
    if node.op_type == "Relu":
        return 0.0, float("inf")
    facts, limits = attributes(node), [float("-inf"), float("inf")]
    for index, key in enumerate(("min", "max")):  # attributes until opset 6, inputs from 11
        if key in facts:
            limits[index] = facts[key]
        elif walk.optional(node, index + 1) is not None:
            limits[index] = float(walk.constant(node, index + 1))
    return limits[0], limits[1]


def _unary(walk: Walk, node: onnx.NodeProto, params: UnaryParams) -> None:
    x = walk.codes(node, 0)
    made = Lookup(
        name=label(node), op_type=node.op_type, inputs=(x.codes,), output=PENDING, params=params
    )
    _wait(walk, node, made)


def _function(walk: Walk, node: onnx.NodeProto) -> None:
    defaults = {"LeakyRelu": (0.01, 0.0), "HardSigmoid": (0.2, 0.5)}.get(node.op_type, (0.0, 0.0))
    facts = attributes(node)
    alpha, beta = facts.get("alpha", defaults[0]), facts.get("beta", defaults[1])
    _unary(walk, node, UnaryParams(alpha=alpha, beta=beta))


def conv_geometry(node: onnx.NodeProto, kernel: tuple[int, ...]) -> ConvGeometry:
    """Window of a Conv or QLinearConv over two axes."""
    facts = attributes(node)
    if len(kernel) != 2 or facts.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise refuse(
            node, "convolutions have two axes and explicit pads",
            f"kernel {kernel}, auto_pad {facts.get('auto_pad')}",
        )
    return ConvGeometry(
        tuple(facts.get("strides", (1, 1))),  # type: ignore[arg-type] # ONNX gives two
        tuple(facts.get("pads", (0, 0, 0, 0))),  # type: ignore[arg-type] # ONNX gives four
        tuple(facts.get("dilations", (1, 1))),  # type: ignore[arg-type] # ONNX gives two
        facts.get("group", 1),
    )


def _conv(walk: Walk, node: onnx.NodeProto) -> None:
    x, weight = walk.codes(node, 0), _weight(walk, node, 1, channel_axis=0)
    bias = _bias(walk, node, 2, x.qparams, weight.qparams)
    geometry = conv_geometry(node, weight.codes.shape[2:])
    made = Linear(
        name=label(node), op_type="Conv", inputs=(x.codes,), output=PENDING, weight=weight.codes,
        weight_qparams=weight.qparams, bias=bias, geometry=geometry,
    )  # fmt: skip
    _wait(walk, node, made)


def _gemm(walk: Walk, node: onnx.NodeProto) -> None:
    facts = attributes(node)
    if facts.get("alpha", 1.0) != 1.0 or facts.get("beta", 1.0) != 1.0 or facts.get("transA", 0):
        raise refuse(node, "Gemm has alpha 1, beta 1 and no transA", str(facts))
    weight = _weight(walk, node, 1, channel_axis=0 if facts.get("transB", 0) else 1)
    if facts.get("transB", 0):
        weight = weight.transposed((1, 0))
    _fully_connected(walk, node, weight, _bias(walk, node, 2, walk.codes(node, 0).qparams,
                                               weight.qparams))  # fmt: skip


def _matmul(walk: Walk, node: onnx.NodeProto) -> None:
    if isinstance(walk.value(node, 1), QuantizedConstant):
        _fully_connected(walk, node, _weight(walk, node, 1, channel_axis=1), None)
        return
    a, b = walk.codes(node, 0), walk.codes(node, 1)
    inputs = (a.codes, b.codes)
    _wait(walk, node, MatMul(name=label(node), op_type="MatMul", inputs=inputs, output=PENDING))


def _fully_connected(
    walk: Walk, node: onnx.NodeProto, weight: QuantizedConstant, bias: Any
) -> None:
    x = walk.codes(node, 0)
    made = Linear(
        name=label(node), op_type=node.op_type, inputs=(x.codes,), output=PENDING,
        weight=weight.codes, weight_qparams=weight.qparams, bias=bias,
    )  # fmt: skip
    _wait(walk, node, made)


def _weight(
    walk: Walk, node: onnx.NodeProto, index: int, *, channel_axis: int
) -> QuantizedConstant:
    value = walk.value(node, index)
    if not isinstance(value, QuantizedConstant):
        raise refuse(node, f"input {index} must be constant codes", type(value).__name__)
    granularity = value.qparams.granularity
    if isinstance(granularity, PerBlock) or (
        isinstance(granularity, PerChannel) and granularity.axis != channel_axis
    ):
        raise refuse(
            node, "weights have one scale, or one for each output channel", str(granularity),
            f"per tensor, or axis {channel_axis}",
        )
    return value


def _bias(
    walk: Walk, node: onnx.NodeProto, index: int, x: QParams, weight: QParams
) -> Any:
    """Bias codes with scale ``s_x * s_w``; a float bias is rounded to them."""
    value = walk.optional(node, index)
    if value is None:
        return None
    expected = (x.scale * weight.scale).astype(np.float32)
    if isinstance(value, Constant):
        return np.rint(value.data.reshape(-1).astype(np.float64) / expected).astype(np.int64)
    if not isinstance(value, QuantizedConstant):
        raise refuse(node, "a bias is constant", type(value).__name__)
    if not np.allclose(value.qparams.scale, expected, rtol=BIAS_SCALE_RTOL, atol=0):
        raise refuse(
            node, "the bias scale is the input scale times the weight scale",
            str(value.qparams.scale.ravel()[:3]), str(expected.ravel()[:3]),
        )
    if value.qparams.zero_point.any():
        raise refuse(node, "a bias has zero point 0", str(value.qparams.zero_point.ravel()[:3]))
    return value.codes.reshape(-1)


def _elementwise(walk: Walk, node: onnx.NodeProto) -> None:
    waiting = [v for v in (walk.value(node, 0), walk.value(node, 1)) if isinstance(v, Waiting)]
    if node.op_type == "Add" and waiting and isinstance(waiting[0].node, Linear):
        _add_bias(walk, node, waiting[0])
        return
    inputs = (walk.codes(node, 0).codes, walk.codes(node, 1).codes)
    _wait(
        walk, node,
        Elementwise(name=label(node), op_type=node.op_type, inputs=inputs, output=PENDING),
    )  # fmt: skip


def _add_bias(walk: Walk, node: onnx.NodeProto, waiting: Waiting) -> None:
    """MatMul followed by Add of a constant is one fully connected layer."""
    made = waiting.node
    assert isinstance(made, Linear)
    index = 1 if walk.value(node, 0) is waiting else 0
    x = walk.qparams[made.inputs[0]]
    bias = _bias(walk, node, index, x, made.weight_qparams)
    if made.bias is not None or made.op_type != "MatMul":
        raise refuse(node, "a layer has one bias", "a second constant after it")
    walk.values[node.output[0]] = replace(waiting, node=replace(made, bias=bias))


def pool_geometry(node: onnx.NodeProto) -> PoolGeometry:
    """Window of an AveragePool or MaxPool over two axes."""
    facts = attributes(node)
    kernel = tuple(facts["kernel_shape"])
    dilations = tuple(facts.get("dilations", (1, 1)))
    padded = facts.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if len(kernel) != 2 or facts.get("ceil_mode", 0) or dilations != (1, 1) or padded:
        raise refuse(
            node, "pools have two axes, explicit pads, ceil_mode 0 and dilation 1", str(facts)
        )
    return PoolGeometry(
        kernel,
        tuple(facts.get("strides", (1, 1))),  # type: ignore[arg-type] # ONNX gives two
        tuple(facts.get("pads", (0, 0, 0, 0))),  # type: ignore[arg-type] # ONNX gives four
        bool(facts.get("count_include_pad", 0)),
    )


def _average_pool(walk: Walk, node: onnx.NodeProto) -> None:
    geometry = None if node.op_type == "GlobalAveragePool" else pool_geometry(node)
    inputs = (walk.codes(node, 0).codes,)
    made = Pool(
        name=label(node), op_type=node.op_type, inputs=inputs, output=PENDING, geometry=geometry
    )
    _wait(walk, node, made)


def _concat(walk: Walk, node: onnx.NodeProto) -> None:
    inputs = tuple(walk.codes(node, index).codes for index in range(len(node.input)))
    axis = attributes(node)["axis"]
    made = Concat(name=label(node), op_type="Concat", inputs=inputs, output=PENDING, axis=axis)
    _wait(walk, node, made)


def _constant(walk: Walk, node: onnx.NodeProto) -> None:
    value: Value
    facts = attributes(node)
    if "value" in facts:
        tensor = facts["value"]
        walk.add_constant(node.output[0], numpy_helper.to_array(tensor), tensor.data_type)
        return
    (value,) = facts.values()
    walk.add_constant(node.output[0], np.asarray(value), onnx.TensorProto.UNDEFINED)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Constant"): _constant,
    ("", "DequantizeLinear"): _dequantize,
    ("", "QuantizeLinear"): _quantize,
    ("", "Conv"): _conv,
    ("", "Gemm"): _gemm,
    ("", "MatMul"): _matmul,
    ("", "Add"): _elementwise,
    ("", "Mul"): _elementwise,
    ("", "GlobalAveragePool"): _average_pool,
    ("", "AveragePool"): _average_pool,
    ("", "Concat"): _concat,
    ("", "Relu"): clamp,
    **{("", op): _function for op in ("LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish")},
}
