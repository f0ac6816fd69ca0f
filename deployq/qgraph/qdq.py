"""QuantizeLinear and DequantizeLinear, of ONNX (opsets 10 to 25) and of com.microsoft.

An operator on dequantized tensors becomes a :class:`Waiting` node; Relu and Clip narrow it; the
QuantizeLinear after it states its output parameters and emits it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from deployq import affine
from deployq.qgraph.nodes import Quantize, Rescale
from deployq.qgraph.signatures import MICROSOFT
from deployq.qgraph.values import (
    Clamp,
    CodesOf,
    Constant,
    GraphInput,
    QuantizedConstant,
    Real,
    RealOf,
    Waiting,
    attributes,
    describe,
    label,
    refuse,
)
from deployq.qgraph.walk import ELEMENT_TYPES, Handler, Walk
from deployq.qparams import PerBlock, PerChannel, PerTensor, QParams
from deployq.qtypes import QType


def qparams_of(walk: Walk, node: onnx.NodeProto, qtype: QType, rank: int | None) -> QParams:
    """Scale (input 1), zero point (input 2, default 0), axis and block size of a Q or DQ node."""
    scale = walk.scales(node, 1)
    stated = walk.optional(node, 2) is not None
    zero_point = walk.codes(node, 2) if stated else np.zeros(scale.shape, np.int64)
    if zero_point.size != scale.size or (scale.size > 1 and zero_point.shape != scale.shape):
        raise refuse(
            node,
            "scale and zero point have the same shape",
            f"{scale.shape}, {zero_point.shape}",
            next_step="repair the node in the tool that wrote the file",
        )
    facts = attributes(node)
    axis, block_size = facts.get("axis", 1), facts.get("block_size", 0)
    axis = axis + rank if axis < 0 and rank is not None else axis
    if block_size:
        return QParams(qtype, scale, zero_point, PerBlock(axis, block_size))
    if scale.size == 1:
        return QParams(qtype, scale.reshape(()), zero_point.reshape(()), PerTensor())
    return QParams(qtype, scale, zero_point, PerChannel(axis))


def _code_type(walk: Walk, node: onnx.NodeProto) -> QType:
    """Type that a QuantizeLinear writes: the zero point's, ``output_dtype``, or uint8."""
    if walk.optional(node, 2) is not None:
        if node.input[2] in walk.types:
            return walk.types[node.input[2]]
        raise refuse(node, "codes are integers", "a zero point of another type")
    element = attributes(node).get("output_dtype", 0) or onnx.TensorProto.UINT8
    if element not in ELEMENT_TYPES:
        raise refuse(node, "codes are integers", onnx.TensorProto.DataType.Name(element))
    return ELEMENT_TYPES[element]


def _dequantize(walk: Walk, node: onnx.NodeProto) -> None:
    value, output = walk.value(node, 0), node.output[0]
    if not isinstance(value, CodesOf | Constant):
        raise refuse(node, "a DequantizeLinear reads codes", describe(value))
    qtype = walk.types.get(node.input[0])
    if qtype is None:
        raise refuse(
            node, "codes are integers of up to 32 bits", f"{describe(value)} of another type"
        )
    if isinstance(value, Constant):
        qparams = qparams_of(walk, node, qtype, value.data.ndim)
        walk.values[output] = QuantizedConstant(walk.codes(node, 0), qparams)
    else:
        qparams = qparams_of(walk, node, qtype, None)
        _check_activation(walk, node, qparams)
        walk.values[output] = RealOf(walk.read_codes(value.name, qparams, f"{output}.codes"))


def _quantize(walk: Walk, node: onnx.NodeProto) -> None:
    qparams = qparams_of(walk, node, _code_type(walk, node), None)
    value, output = walk.value(node, 0), node.output[0]
    if isinstance(value, Constant | QuantizedConstant):
        _quantize_constant(walk, node, value, qparams)
        return
    _check_activation(walk, node, qparams)
    if isinstance(value, Waiting):
        bounds = value.clamp.bounds(qparams)
        walk.emit_as(replace(value.node, bounds=bounds), output, qparams)
    elif isinstance(value, GraphInput | Real):
        clamp = value.clamp if isinstance(value, GraphInput) else Clamp()
        made = Quantize(
            name=label(node), op_type="QuantizeLinear", inputs=(value.name,), output=output,
            bounds=clamp.bounds(qparams),
        )  # fmt: skip
        walk.emit(made, qparams)
    elif isinstance(value, RealOf):
        rescale = Rescale(
            name=label(node), op_type="QuantizeLinear", inputs=(value.codes,), output=output
        )
        walk.emit(rescale, qparams)
    else:
        raise refuse(node, "a QuantizeLinear reads reals", describe(value))


def _check_activation(walk: Walk, node: onnx.NodeProto, qparams: QParams) -> None:
    if not isinstance(qparams.granularity, PerTensor) and not walk.as_stated:
        raise refuse(
            node,
            "an activation has one scale",
            str(qparams.granularity),
            "per tensor",
            next_step="quantize activations per tensor",
        )


def _quantize_constant(
    walk: Walk, node: onnx.NodeProto, value: Constant | QuantizedConstant, qparams: QParams
) -> None:
    """Float weights behind a QuantizeLinear: their codes, by law 1."""
    if isinstance(value, Constant):
        reals = walk.numbers(node, 0).astype(np.float32)
    else:
        reals = affine.dequantize(value.codes, value.qparams)
    codes = affine.quantize(reals, qparams)
    walk.add_constant(node.output[0], codes, qparams.qtype)


HANDLERS: dict[tuple[str, str], Handler] = {
    (domain, operator): handler
    for domain in ("", MICROSOFT)
    for operator, handler in (("QuantizeLinear", _quantize), ("DequantizeLinear", _dequantize))
}
