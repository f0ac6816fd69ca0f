"""Conv, ConvTranspose, Gemm and MatMul on dequantized tensors, with their biases."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx

from deployq.errors import QuantizationError
from deployq.qgraph.nodes import OUTPUTS_FIRST, Linear, MatMul
from deployq.qgraph.transposed import conv_transpose_geometry, transposed_weight
from deployq.qgraph.values import (
    Clamp,
    Constant,
    QuantizedConstant,
    Value,
    Waiting,
    attributes,
    describe,
    label,
    refuse,
)
from deployq.qgraph.walk import PENDING, Handler, Walk
from deployq.qgraph.windows import check_channels, conv_geometry
from deployq.qparams import FloatArray, IntArray, PerChannel, PerTensor

WIDEST_SHIFT = 32
"""Of bias codes: beyond it 32 bits leave 64."""

MOST_STEPS = 2.0**53
"""Of a float bias: float64 counts as far."""

Number = TypeVar("Number", bound=np.generic)

BIAS_SCALE_RTOL = 1e-6
"""A bias scale may differ from ``s_x * s_w`` by float32 rounding, no more."""


def _conv(walk: Walk, node: onnx.NodeProto) -> None:
    weight = _weight(walk, node, 1, channel_axis=0)
    made = Linear(
        name=label(node), op_type="Conv", inputs=(walk.operand(node, 0),), output=PENDING,
        weight=weight.codes, weight_qparams=weight.qparams, bias=None,
        geometry=conv_geometry(walk, node, weight.codes.shape[2:]),
    )  # fmt: skip
    check_channels(walk, node, made.geometry, made.weight.shape)
    walk.wait(node, _with_bias(walk, node, made, walk.optional(node, 2), axis=-1))


def _conv_transpose(walk: Walk, node: onnx.NodeProto) -> None:
    weight = _weight(walk, node, 1, channel_axis=1)
    geometry = conv_transpose_geometry(walk, node, weight.codes.shape[2:])
    codes, qparams = transposed_weight(weight, geometry.groups)
    made = Linear(
        name=label(node), op_type="ConvTranspose", inputs=(walk.operand(node, 0),), output=PENDING,
        weight=codes, weight_qparams=qparams, bias=None, geometry=geometry,
    )  # fmt: skip
    check_channels(walk, node, geometry, codes.shape)
    walk.wait(node, _with_bias(walk, node, made, walk.optional(node, 2), axis=-1))


def _gemm(walk: Walk, node: onnx.NodeProto) -> None:
    facts = attributes(node)
    if facts.get("alpha", 1.0) != 1.0 or facts.get("beta", 1.0) != 1.0 or facts.get("transA", 0):
        raise refuse(
            node,
            "Gemm has alpha 1, beta 1 and no transA",
            str(facts),
            next_step="move alpha and beta into the scales, write a Transpose for transA",
        )
    weight = _weight(walk, node, 1, channel_axis=0 if facts.get("transB", 0) else 1)
    if facts.get("transB", 0):
        weight = weight.transposed((1, 0))
    made = _fully_connected(walk, node, weight)
    walk.wait(node, _with_bias(walk, node, made, walk.optional(node, 2), axis=-1))


def _matmul(walk: Walk, node: onnx.NodeProto) -> None:
    right = walk.value(node, 1)
    if isinstance(right, QuantizedConstant) and right.codes.ndim == 2:
        weight = _weight(walk, node, 1, channel_axis=1)
        walk.wait(node, _fully_connected(walk, node, weight))
        return
    a, b = walk.operand(node, 0), walk.operand(node, 1)
    made = MatMul(
        name=label(node), op_type="MatMul", inputs=(a, b), output=PENDING,
        shifted=walk.qparams[b].is_shifted,
    )  # fmt: skip
    walk.wait(node, made)


def _fully_connected(walk: Walk, node: onnx.NodeProto, weight: QuantizedConstant) -> Linear:
    return Linear(
        name=label(node), op_type=node.op_type, inputs=(walk.operand(node, 0),), output=PENDING,
        weight=weight.codes, weight_qparams=weight.qparams, bias=None,
    )  # fmt: skip


def _weight(
    walk: Walk, node: onnx.NodeProto, index: int, *, channel_axis: int
) -> QuantizedConstant:
    value = walk.value(node, index)
    if not isinstance(value, QuantizedConstant):
        raise refuse(
            node,
            f"input {index} is a dequantized constant",
            describe(value),
            next_step="quantize the weight, or compute it before the export",
        )
    if not walk.as_stated and value.granularity not in (PerTensor(), PerChannel(channel_axis)):
        raise refuse(
            node,
            "weights have one scale, or one for each output channel",
            str(value.granularity),
            f"per tensor, or axis {channel_axis}",
            next_step="quantize the weight per output channel",
        )
    return value


def add_bias(walk: Walk, node: onnx.NodeProto) -> bool:
    """Read an Add of a constant to an unquantized product as its bias; false if it is none."""
    for index, other in ((0, 1), (1, 0)):
        value, constant = walk.value(node, index), walk.value(node, other)
        if not isinstance(value, Waiting) or not isinstance(value.node, Linear):
            continue
        free = value.node.bias is None and value.clamp == Clamp()
        if free and isinstance(constant, Constant | QuantizedConstant):
            axis = -3 if value.node.op_type in OUTPUTS_FIRST else -1
            walk.wait(node, _with_bias(walk, node, value.node, constant, axis=axis))
            return True
    return False


def _with_bias(
    walk: Walk, node: onnx.NodeProto, made: Linear, value: Value | None, *, axis: int
) -> Linear:
    """Bias codes with scale ``s_x * s_w``; a float bias is rounded to them, codes on that scale
    times ``2**k`` are shifted to it. Codes on another scale keep it, those that are read as stated
    stay as they are.

    Args:
        axis: of the bias tensor, along which it has one element for each output channel.
    """
    if value is None:
        return made
    outputs = made.weight.shape[made.channel_axis]
    expected = _bias_step(walk, made, outputs)
    if isinstance(value, Constant):
        reals = _per_channel(node, value.data.astype(np.float64), outputs, axis)
        return replace(made, bias=_bias_codes(np.asarray(reals), expected))
    if not isinstance(value, QuantizedConstant):
        raise refuse(node, "a bias is constant", describe(value))
    codes = _per_channel(node, value.codes, outputs, axis).astype(np.int64)
    made = replace(made, bias_type=value.qparams.qtype, bias_qparams=value.qparams)
    if walk.as_stated:
        return replace(made, bias=codes)
    _check_bias_zero_point(node, value)
    shift = _bias_shift(value.qparams.scale, expected)
    if shift is not None:
        return replace(made, bias=codes << shift)
    step = _per_channel(node, value.qparams.scale.astype(np.float64), outputs, -1)
    return replace(made, bias=codes, bias_step=step)


def _bias_step(walk: Walk, made: Linear, outputs: int) -> FloatArray:
    """``s_x * s_w``, one or (outputs,); the largest where parameters as stated have none.

    Raises:
        QuantizationError: float32 has no such number.
    """
    x, weight = walk.qparams[made.inputs[0]].scale, made.weight_qparams.scale
    if walk.as_stated and (x.ndim or weight.shape not in ((), (outputs,))):
        x, weight = x.max(), weight.max()
    with np.errstate(over="ignore", under="ignore"):
        step = np.asarray(x * weight)
    if not (np.isfinite(step).all() and (step > 0).all()):
        raise QuantizationError(
            "scale",
            "input scale times weight scale is a positive float32",
            found=str(step.ravel()[:4].tolist()),
            allowed="> 0",
        )
    return step


def _bias_codes(reals: FloatArray, step: FloatArray) -> IntArray:
    """Whole steps of the sums, by law 1.

    Raises:
        QuantizationError: a bias that is no number, or of more steps than float64 counts.
    """
    steps = np.rint(reals / step)
    if not (np.abs(steps) <= MOST_STEPS).all():
        raise QuantizationError(
            "bias",
            "a bias is a whole number of steps of its layer's sums",
            found=str(steps[~(np.abs(steps) <= MOST_STEPS)][0]),
            allowed="-2**53..2**53",
        )
    return np.asarray(steps, np.int64)


def _per_channel(
    node: onnx.NodeProto, data: npt.NDArray[Number], outputs: int, axis: int
) -> npt.NDArray[Number]:
    """(outputs,) values of a bias that has one for each channel, or one for all."""
    along = data.shape[axis] if data.ndim >= -axis else 1
    if data.size not in (1, outputs) or along != data.size:
        raise refuse(
            node,
            "a bias has one value for each output channel",
            f"shape {data.shape}",
            f"{outputs} values along axis {axis}",
        )
    return np.broadcast_to(data.reshape(-1), (outputs,))


def _bias_shift(scale: FloatArray, expected: FloatArray) -> IntArray | None:
    """k, 0 or more, one or for each channel, of a bias on the scale ``s_x * s_w * 2**k``; None on
    every other scale.
    """
    if not (scale.size in (1, expected.size) or expected.size == 1):
        return None
    ratio = scale.astype(np.float64) / expected.astype(np.float64)
    shift = np.clip(np.rint(np.log2(ratio)), 0, WIDEST_SHIFT).astype(np.int64)
    near = np.allclose(ratio, np.exp2(shift), rtol=BIAS_SCALE_RTOL, atol=0)
    return shift if near else None


def _check_bias_zero_point(node: onnx.NodeProto, bias: QuantizedConstant) -> None:
    zero_point = bias.qparams.zero_point
    if zero_point.any():
        raise refuse(
            node,
            "a bias has zero point 0",
            str(zero_point.ravel()[:3]),
            "0",
            next_step="quantize the bias symmetrically",
        )


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Conv"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "Gemm"): _gemm,
    ("", "MatMul"): _matmul,
}
