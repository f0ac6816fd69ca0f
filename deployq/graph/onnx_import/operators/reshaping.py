"""Operators that change the shape and keep the order in memory."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deployq.graph.onnx_import.arguments import constant, expect, numbers
from deployq.graph.onnx_import.batch import batch_axes, is_batch, own_axis, reshaped
from deployq.graph.onnx_import.node import OnnxNode, Value
from deployq.graph.onnx_import.operators.operator import ALL, Operator


def reshape(node: OnnxNode, x: Tensor, shape: Value = None) -> Tensor:
    """Reshape-5 to 21; 0 copies a dimension unless ``allowzero``."""
    target = numbers(node, shape, "shape")
    if not node.get("allowzero", 0):
        target = [x.shape[i] if is_zero(d) else d for i, d in enumerate(target)]
    if not batch_axes(x.shape):
        return x.reshape(target)
    return x.reshape(reshaped(node, x.shape, target))


def is_zero(size: Any) -> bool:
    """True for a literal 0."""
    return isinstance(size, int) and size == 0


def flatten(node: OnnxNode, x: Tensor) -> Tensor:
    """Flatten-1 to 21: a matrix, split at ``axis``."""
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1 and is_batch(x.shape[0]):
        return x.flatten(1) if x.ndim > 1 else x.unsqueeze(1)
    target = [prod(x.shape[:axis]), prod(x.shape[axis:])]
    return x.reshape(reshaped(node, x.shape, target) if batch_axes(x.shape) else target)


def squeeze(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
    """Squeeze-1 to 21."""
    wanted = numbers(node, axes, "axes")
    expect(
        node,
        wanted is not None,
        "Squeeze states its axes: without them it would remove a batch of one",
        "no axes",
        "axes",
        "write the axes",
    )
    return x.squeeze([own_axis(node, x, axis) for axis in wanted])


def unsqueeze(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
    """Unsqueeze-1 to 21; axes count in the result."""
    wanted = numbers(node, axes, "axes")
    rank = x.ndim + len(wanted)
    for axis in sorted(axis % rank for axis in wanted):
        x = x.unsqueeze(axis)
    return x


def expand(node: OnnxNode, x: Tensor, shape: Value = None) -> Tensor:
    """Expand-8 to 13: broadcast both ways; a literal 1 leaves a dimension as it is."""
    target = numbers(node, shape, "shape")
    sizes = [1] * (x.ndim - len(target)) + target
    own = [1] * (len(sizes) - x.ndim) + list(x.shape)
    wanted = [o if not is_batch(s) and s == 1 else s for o, s in zip(own, sizes, strict=True)]
    if all(o is w for o, w in zip(own, wanted, strict=True)) and len(wanted) == x.ndim:
        return x
    return x.expand([-1 if is_batch(o) else w for o, w in zip(own, wanted, strict=True)])


def constant_of_shape(node: OnnxNode, shape: Value) -> Tensor:
    """Only a shape with the batch in it gets here; others are folded."""
    value = node.get("value")
    sizes = constant(node, shape, "shape").tolist()
    return torch.full(sizes, 0.0 if value is None else np.asarray(value).item())


OPERATORS = {
    "Reshape": Operator(reshape, static=ALL),
    "Flatten": Operator(flatten),
    "Squeeze": Operator(squeeze, static=ALL),
    "Unsqueeze": Operator(unsqueeze, static=ALL),
    "Expand": Operator(expand, static=ALL),
    "ConstantOfShape": Operator(constant_of_shape, static=(0, *ALL)),
}
