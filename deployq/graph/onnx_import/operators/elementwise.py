"""Functions of two or more tensors, value by value. One-element constants stay numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deployq.graph.onnx_import.arguments import expect
from deployq.graph.onnx_import.node import OnnxNode, Value
from deployq.graph.onnx_import.operators.operator import Operator


def _number(node: OnnxNode, value: Value, other: Value) -> Any:
    """A constant of one element as a number; a tensor as it is."""
    if not isinstance(value, np.ndarray):
        return value
    expect(
        node,
        isinstance(other, Tensor) and value.ndim <= other.ndim and value.dtype == np.float32,
        "a constant operand is float32 and does not raise the rank",
        f"{value.dtype} {value.shape}",
        "float32, of at most the other operand's rank",
    )
    return value.item()


def _binary(function: Callable[[Any, Any], Tensor]) -> Callable[[OnnxNode, Value, Value], Tensor]:
    def run(node: OnnxNode, a: Value, b: Value) -> Tensor:
        return function(_number(node, a, b), _number(node, b, a))

    return run


def _add(a: Any, b: Any) -> Tensor:
    return torch.add(a, b) if isinstance(a, Tensor) else torch.add(b, a)


def _mul(a: Any, b: Any) -> Tensor:
    return torch.mul(a, b) if isinstance(a, Tensor) else torch.mul(b, a)


def _sub(a: Any, b: Any) -> Tensor:
    """c - x is (-1)·x + c, the same float32 number."""
    return torch.sub(a, b) if isinstance(a, Tensor) else torch.add(torch.mul(b, -1.0), a)


def _extreme(pair: Callable[[Tensor, Tensor], Tensor], bound: str) -> Callable[..., Tensor]:
    """Min and Max of any number of operands; a number among them is a clamp."""

    def run(node: OnnxNode, *operands: Value) -> Tensor:
        tensors = [v for v in operands if isinstance(v, Tensor)]
        result = reduce(pair, tensors)
        for value in operands:
            if isinstance(value, np.ndarray):
                result = torch.clamp(result, **{bound: _number(node, value, result)})
        return result

    return run


EVERY = tuple(range(8))

OPERATORS = {
    "Add": Operator(_binary(_add), scalars=EVERY),
    "Sub": Operator(_binary(_sub), scalars=EVERY),
    "Mul": Operator(_binary(_mul), scalars=EVERY),
    "Div": Operator(_binary(torch.div), scalars=(1,)),
    "Pow": Operator(_binary(torch.pow), scalars=EVERY),
    "Min": Operator(_extreme(torch.minimum, "max"), scalars=EVERY),
    "Max": Operator(_extreme(torch.maximum, "min"), scalars=EVERY),
}
