"""Arithmetic on sizes: what lies between Shape and Reshape, Expand, Slice or Resize in a file.

Sizes are arrays of objects: Python ints, and one symbol for each batch. ``Shape`` makes them; the
functions here carry them on, so that a shape that depends on the batch keeps depending on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from deployq.graph.onnx_import.arguments import number, numbers
from deployq.graph.onnx_import.node import Array, OnnxNode


def _objects(values: Any) -> Array:
    return np.asarray(values, dtype=object)


def shape(node: OnnxNode, x: Tensor) -> Array:
    """Shape of an activation; ``start`` and ``end`` from opset 15."""
    sizes = np.empty(x.ndim, dtype=object)
    sizes[:] = list(x.shape)
    return sizes[node.get("start", 0) : node.get("end", x.ndim)]


def _gather(node: OnnxNode, data: Array, index: Array) -> Array:
    return _objects(data.take(index.astype(np.int64), axis=node.get("axis", 0)))


def _concat(node: OnnxNode, *parts: Array) -> Array:
    return np.concatenate([_objects(part) for part in parts], node.get("axis", 0))


def _unsqueeze(node: OnnxNode, data: Array, axes: Array | None = None) -> Array:
    return np.expand_dims(data, tuple(numbers(node, axes, "axes")))


def _squeeze(node: OnnxNode, data: Array, axes: Array | None = None) -> Array:
    wanted = numbers(node, axes, "axes")
    return _objects(np.squeeze(data, None if wanted is None else tuple(wanted)))


def _slice(node: OnnxNode, data: Array, *rest: Array | None) -> Array:
    starts, ends, axes, steps = (
        numbers(node, rest[i] if i < len(rest) else None, key)
        for i, key in enumerate(("starts", "ends", "axes", "steps"))
    )
    index = [slice(None)] * data.ndim
    for i, axis in enumerate(axes or range(len(starts))):
        index[axis] = slice(starts[i], ends[i], steps[i] if steps else 1)
    return data[tuple(index)]


def _reshape(node: OnnxNode, data: Array, target: Array | None = None) -> Array:
    return data.reshape(numbers(node, target, "shape"))


def _cast(node: OnnxNode, data: Array) -> Array:
    kinds = {1: float, 10: float, 11: float}  # FLOAT, FLOAT16, DOUBLE
    if node.get("to") not in kinds:
        return _each(lambda d: math.trunc(d) if isinstance(d, float) else d, data)
    return _each(lambda d: float(d) if isinstance(d, (int, np.number)) else d, data)


def _each(function: Callable[..., Any], *operands: Array) -> Array:
    result = np.frompyfunc(function, len(operands), 1)(*map(_objects, operands))
    return _objects(result)


def _divide(a: Any, b: Any) -> Any:
    return a / b if isinstance(a, float) or isinstance(b, float) else a // b


def _constant_of_shape(node: OnnxNode, sizes: Array) -> Array:
    value = node.get("value")
    return np.full([*sizes], 0.0 if value is None else value.item(), dtype=object)


def _reduce_prod(node: OnnxNode, data: Array, axes: Array | None = None) -> Array:
    return _objects(np.prod(data, keepdims=bool(node.get("keepdims", 1))))


def _range(node: OnnxNode, *limits: Array) -> Array:
    return _objects(list(range(*(number(node, limit, "limit") for limit in limits))))


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": _divide,
    "Min": lambda a, b: min(a, b),
    "Max": lambda a, b: max(a, b),
    "Equal": lambda a, b: bool(a == b),
}

_UNARY: dict[str, Callable[[Any], Any]] = {
    "Neg": lambda a: -a,
    "Floor": lambda a: math.floor(a) if isinstance(a, float) else a,
    "Ceil": lambda a: math.ceil(a) if isinstance(a, float) else a,
    "Identity": lambda a: a,
}

_WHOLE: dict[str, Callable[..., Array]] = {
    "Gather": _gather,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Slice": _slice,
    "Reshape": _reshape,
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
    "ReduceProd": _reduce_prod,
    "Range": _range,
}

SIZE_OPERATORS = frozenset({"Shape", "Where", *_BINARY, *_UNARY, *_WHOLE})


def compute_sizes(node: OnnxNode, operands: list[Any]) -> Array:
    """One node on sizes.

    Raises:
        UnsupportedError: an operator that sizes do not pass through.
    """
    kind = node.op_type
    if kind in _BINARY and len(operands) == 2:
        return _each(_BINARY[kind], *operands)
    if kind in _UNARY:
        return _each(_UNARY[kind], *operands)
    if kind in _WHOLE:
        return _WHOLE[kind](node, *operands)
    if kind == "Where":
        return _each(lambda c, a, b: a if c else b, *operands)
    raise node.refuse(
        "sizes of tensors pass through integer arithmetic only",
        kind,
        ", ".join(sorted(SIZE_OPERATORS)),
        "simplify the file, for example with onnxsim",
    )
