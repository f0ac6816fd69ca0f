"""Functions of one value, and PRelu and Clip with their constants."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deployq.graph.onnx_import.arguments import expect, number
from deployq.graph.onnx_import.batch import is_batch, own_axis
from deployq.graph.onnx_import.node import OnnxNode, Value
from deployq.graph.onnx_import.operators.operator import ALL, Operator


def leaky_relu(node: OnnxNode, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.get("alpha", 0.01))


def elu(node: OnnxNode, x: Tensor) -> Tensor:
    return F.elu(x, node.get("alpha", 1.0))


def hard_sigmoid(node: OnnxNode, x: Tensor) -> Tensor:
    """max(0, min(1, alpha·x + beta)); torch's own has alpha 1/6 and beta 1/2."""
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def gelu(node: OnnxNode, x: Tensor) -> Tensor:
    """Gelu-20."""
    return F.gelu(x, approximate=node.get("approximate", "none"))


def clip(node: OnnxNode, x: Tensor, low: Value = None, high: Value = None) -> Tensor:
    """Clip-6 (attributes) to 13 (inputs); one bound may be missing."""
    bounds = [number(node, low, "min"), number(node, high, "max")]
    if bounds == [None, None]:
        return x
    return torch.clamp(x, *bounds)


def prelu(node: OnnxNode, x: Tensor, slope: Tensor) -> Tensor:
    """PRelu-7 to 16; the slope is one number or one a channel."""
    own_axis(node, x, 1)
    fits = slope.numel() == 1 or list(slope.shape) == [x.shape[1], *[1] * (x.ndim - 2)]
    expect(node, fits, "a slope is one number, or one a channel", tuple(slope.shape), "(C, 1, 1)")
    return F.prelu(x, slope.reshape(-1))


def softmax(node: OnnxNode, x: Tensor) -> Tensor:
    """Softmax-1 works on all axes from ``axis`` on as one, Softmax-13 along ``axis``."""
    old = node.opset < 13
    axis = own_axis(node, x, node.get("axis", 1 if old else -1))
    if not old or all(size == 1 for size in x.shape[axis + 1 :]):
        return torch.softmax(x, axis)
    for other in range(axis, x.ndim):
        own_axis(node, x, other)
    outer = [-1 if is_batch(size) else size for size in x.shape[:axis]]
    inner = [int(size) for size in x.shape[axis:]]
    return torch.softmax(x.flatten(axis), axis).reshape([*outer, *inner])


OPERATORS = {
    "Relu": Operator(lambda node, x: torch.relu(x)),
    "Sigmoid": Operator(lambda node, x: torch.sigmoid(x)),
    "Tanh": Operator(lambda node, x: torch.tanh(x)),
    "Erf": Operator(lambda node, x: torch.erf(x)),
    "Sqrt": Operator(lambda node, x: torch.sqrt(x)),
    "Neg": Operator(lambda node, x: torch.neg(x)),
    "Exp": Operator(lambda node, x: torch.exp(x)),
    "HardSwish": Operator(lambda node, x: F.hardswish(x)),
    "LeakyRelu": Operator(leaky_relu),
    "Elu": Operator(elu),
    "HardSigmoid": Operator(hard_sigmoid),
    "Gelu": Operator(gelu),
    "Clip": Operator(clip, static=ALL),
    "PRelu": Operator(prelu),
    "Softmax": Operator(softmax),
}
