"""What preparation knows of ATen: which calls compute, which move data, which bound a range."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx, nn

from deployq.arithmetic.oracle.lookup import UnaryParams
from deployq.graph.rewrites.last_axis_softmax import is_softmax
from deployq.graph.rewrites.rule import argument, calls

aten = torch.ops.aten

LINEAR: dict[Any, str] = {
    aten.conv2d.default: "Conv",
    aten.conv_transpose2d.input: "ConvTranspose",
    aten.linear.default: "Gemm",
}
"""Integer products with constant weights; the value is the ONNX operator."""

COMPUTE: dict[Any, str] = {
    aten.add.Tensor: "Add",
    aten.mul.Tensor: "Mul",
    aten.adaptive_avg_pool2d.default: "GlobalAveragePool",
    aten.avg_pool2d.default: "AveragePool",
    aten.cat.default: "Concat",
    aten.matmul.default: "MatMul",
    aten.bmm.default: "MatMul",
}
"""Operators with an integer form of their own; their output gets its own parameters."""

UNARY: dict[Any, str] = {
    aten.relu.default: "Relu",
    aten.clamp.default: "Clip",
    aten.leaky_relu.default: "LeakyRelu",
    aten.sigmoid.default: "Sigmoid",
    aten.tanh.default: "Tanh",
    aten.hardsigmoid.default: "HardSigmoid",
    aten.hardswish.default: "HardSwish",
    aten.elu.default: "Elu",
    aten.gelu.default: "Gelu",
    aten.mish.default: "Mish",
}
"""Functions of one value: a lookup table, or part of the operator before them."""

MOVEMENT: dict[Any, str] = {
    aten.max_pool2d.default: "MaxPool",
    aten.flatten.using_ints: "Flatten",
    aten.view.default: "Reshape",
    aten.reshape.default: "Reshape",
    aten.permute.default: "Transpose",
    aten.transpose.int: "Transpose",
    aten.slice.Tensor: "Slice",
    aten.index_select.default: "Gather",
    aten.squeeze.dim: "Squeeze",
    aten.squeeze.dims: "Squeeze",
    aten.unsqueeze.default: "Unsqueeze",
    aten.pad.default: "Pad",
    aten.upsample_nearest2d.vec: "Resize",
}
"""Operators that choose among codes or add the code of a constant; input and output share
parameters.
"""

FLOAT: dict[Any, str] = {
    aten.conv2d.padding: "Conv",
    aten.softmax.int: "Softmax",
    aten.mean.dim: "ReduceMean",
    aten.sub.Tensor: "Sub",
    aten.div.Tensor: "Div",
    aten.layer_norm.default: "LayerNormalization",
    aten.rms_norm.default: "RMSNormalization",
    aten.embedding.default: "Gather",
    aten.select.int: "Gather",
    aten.expand.default: "Expand",
    aten.expand_as.default: "Expand",
    aten.stack.default: "aten.stack",
    aten.conv1d.default: "Conv",
    aten.log_softmax.int: "LogSoftmax",
    aten.group_norm.default: "GroupNormalization",
    aten.instance_norm.default: "InstanceNormalization",
    aten.prelu.default: "PRelu",
    aten.selu.default: "Selu",
    aten.celu.default: "Celu",
    aten.softplus.default: "Softplus",
    aten.exp.default: "Exp",
    aten.log.default: "Log",
    aten.sqrt.default: "Sqrt",
    aten.rsqrt.default: "aten.rsqrt",
    aten.reciprocal.default: "Reciprocal",
    aten.abs.default: "Abs",
    aten.neg.default: "Neg",
    aten.erf.default: "Erf",
    aten.sin.default: "Sin",
    aten.cos.default: "Cos",
    aten.pow.Tensor_Scalar: "Pow",
    aten.pow.Tensor_Tensor: "Pow",
    aten.rsub.Scalar: "Sub",
    aten.addcmul.default: "aten.addcmul",
    aten.maximum.default: "Max",
    aten.minimum.default: "Min",
    aten.sum.dim_IntList: "ReduceSum",
    aten.amax.default: "ReduceMax",
    aten.amin.default: "ReduceMin",
    aten.linalg_vector_norm.default: "ReduceL2",
    aten.upsample_bilinear2d.vec: "Resize",
    aten.upsample_bicubic2d.vec: "Resize",
    aten.cumsum.default: "CumSum",
    aten.to.dtype: "Cast",
    aten.scaled_dot_product_attention.default: "aten.scaled_dot_product_attention",
}
"""Operators that run in float, between a grid and a grid, where the profile allows it."""

NON_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax")
"""Operators whose result is never below zero."""

UNIT = (1, [1], [1, 1])
"""Ways to write one row and one column."""

SHAPE = (aten.sym_size.int,)
"""Integer calls that carry no activation."""

TRUTHS = (
    aten.eq.Scalar,
    aten.ne.Scalar,
    aten.lt.Scalar,
    aten.le.Scalar,
    aten.gt.Scalar,
    aten.ge.Scalar,
    aten.logical_not.default,
    aten.logical_and.default,
    aten.logical_or.default,
)
"""Comparisons and what joins them: truths have no grid, and masks are made of them."""

ALLOWED_CALLS: frozenset[Any] = frozenset(
    [*LINEAR, *COMPUTE, *UNARY, *MOVEMENT, *FLOAT, *SHAPE, *TRUTHS]
)
"""The calls that a prepared model may make, in memory and on disk (law 9): none touches a file."""


def clamp_bounds(node: fx.Node) -> tuple[float, float] | None:
    """Real bounds that relu or clamp enforces; None for any other node."""
    if calls(node, aten.relu.default):
        return 0.0, float("inf")
    if not calls(node, aten.clamp.default):
        return None
    low, high = argument(node, 1, "min"), argument(node, 2, "max")
    return float("-inf") if low is None else low, float("inf") if high is None else high


def unary_params(node: fx.Node) -> UnaryParams:
    """The attributes of a function of one value, with ONNX's meaning."""
    if calls(node, aten.leaky_relu.default):
        return UnaryParams(alpha=float(argument(node, 1, "negative_slope", 0.01)))
    if calls(node, aten.elu.default):
        return UnaryParams(alpha=float(argument(node, 1, "alpha", 1.0)))
    if calls(node, aten.gelu.default):
        return UnaryParams(approximate=str(node.kwargs.get("approximate", "none")))
    if calls(node, aten.hardsigmoid.default):
        return UnaryParams(alpha=1 / 6, beta=0.5)
    low, high = clamp_bounds(node) or (float("-inf"), float("inf"))
    return UnaryParams(low=low, high=high)


def onnx_type(module: fx.GraphModule, node: fx.Node) -> str:
    """The ONNX operator that a node becomes; the ATen name where there is none."""
    if node.op == "call_module":
        child = module.get_submodule(str(node.target))
        if isinstance(child, nn.Dropout):
            return "Identity"
        name = type(child).__name__
        return "BatchNormalization" if name.startswith("BatchNorm") else name
    for table in (LINEAR, COMPUTE, UNARY, MOVEMENT, FLOAT):
        if node.target in table:
            return table[node.target]
    return str(node.target)


def is_movement(module: fx.GraphModule, node: fx.Node) -> bool:
    """True when the node's codes are its input's codes, moved, dropped or padded."""
    if node.op == "call_module":
        return isinstance(module.get_submodule(str(node.target)), nn.Dropout)
    if calls(node, aten.pad.default):
        mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value") or 0.0
        return mode != "constant" or value == 0.0 or math.isinf(value)
    if calls(node, aten.max_pool2d.default):
        dilation = argument(node, 4, "dilation", 1)
        return dilation in UNIT and not argument(node, 5, "ceil_mode", False)
    return node.op == "call_function" and node.target in MOVEMENT


def is_compute(node: fx.Node) -> bool:
    """True when the node has an integer form, provided that its operands are on grids."""
    if calls(node, aten.add.Tensor, aten.mul.Tensor):
        both = all(isinstance(operand, fx.Node) for operand in node.args[:2])
        return both and bool(node.kwargs.get("alpha", 1) == 1)
    if calls(node, aten.adaptive_avg_pool2d.default):
        return argument(node, 1, "output_size") in UNIT
    if calls(node, aten.avg_pool2d.default):
        rounds_up = argument(node, 4, "ceil_mode", False)
        return not rounds_up and argument(node, 6, "divisor_override") is None
    return node.op == "call_function" and node.target in COMPUTE


def is_row_norm(node: fx.Node) -> bool:
    """True for LayerNorm or RMSNorm over the last axis, which has an integer form on a grid."""
    if not calls(node, aten.layer_norm.default, aten.rms_norm.default):
        return False
    constants = [argument(node, 2, "weight"), argument(node, 3, "bias")]
    if calls(node, aten.rms_norm.default):
        constants.pop()
    stored = all(c is None or c.op == "get_attr" for c in constants)
    shape: Any = argument(node, 1, "normalized_shape")
    return stored and len(shape) == 1 and shape[0] > 1


def computes_rows(node: fx.Node) -> bool:
    """True for an operator along rows that some targets compute on codes, others in float."""
    return is_softmax(node) or is_row_norm(node)


def is_linear(node: fx.Node) -> bool:
    """True for a convolution or fully connected layer whose weight and bias are parameters."""
    if not calls(node, *LINEAR):
        return False
    constants = [argument(node, 1, "weight"), argument(node, 2, "bias")]
    return all(c is None or c.op == "get_attr" for c in constants)
