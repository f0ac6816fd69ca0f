"""Operators on constants, folded: what shapes, weights, scales and limits pass through in files.

``Shape -> Gather -> Unsqueeze -> Concat -> Reshape``, the way in which exporters write
``x.reshape(x.shape[0], -1)``, folds to a shape whose batch dimension is symbolic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from deployq.qgraph.movement import READ, Facts
from deployq.qgraph.values import Constant, QuantizedConstant, Value, attributes, refuse
from deployq.qgraph.walk import ELEMENT_TYPES, Handler, Walk
from deployq.qparams import PerTensor

Array = npt.NDArray[Any]

MOST_FOLDED = 1 << 26
"""Elements of all constants that are computed from others, in any file."""

TIMES_STORED = 2
"""The same for each stored element, where that is more: weights may be cast on the way."""


def fold(walk: Walk, node: onnx.NodeProto) -> bool:
    """Fold a node whose inputs are all constant; false if it must be read instead."""
    values = [walk.values.get(name) for name in node.input if name]
    if node.domain not in ("", "ai.onnx") or not values:
        return False
    try:
        return _folded(walk, node, values)
    except (ValueError, IndexError) as error:  # NumPy's: axes or indices beyond the constant
        raise refuse(node, "an operator on constants can be computed", str(error)) from error


def _folded(walk: Walk, node: onnx.NodeProto, values: list[Value | None]) -> bool:
    first, *others = values
    if not all(isinstance(value, Constant) for value in others):
        return False
    if isinstance(first, Constant) and node.op_type in _FOLDS:
        _FOLDS[node.op_type](walk, node)
    elif isinstance(first, Constant) and node.op_type in _MOVES:
        moved = _MOVES[node.op_type](first.data, READ[node.op_type](walk, node))
        walk.add_constant(node.output[0], moved, walk.types.get(node.input[0]))
    elif isinstance(first, QuantizedConstant) and node.op_type in _MOVES:
        walk.values[node.output[0]] = _move_quantized(walk, node, first)
    else:
        return False
    return True


def _move_quantized(
    walk: Walk, node: onnx.NodeProto, value: QuantizedConstant
) -> QuantizedConstant:
    facts = READ[node.op_type](walk, node)
    if node.op_type == "Transpose":
        reverse = range(value.codes.ndim)[::-1]
        return value.transposed(tuple(facts["perm"] or reverse))
    if not isinstance(value.qparams.granularity, PerTensor):
        raise refuse(node, "a constant with several scales keeps its shape", node.op_type)
    return QuantizedConstant(_MOVES[node.op_type](value.codes, facts), value.qparams)


def _slice(data: Array, facts: Facts) -> Array:
    index = [slice(None)] * data.ndim
    parts = (facts[key] for key in ("axes", "starts", "ends", "steps"))
    for axis, start, end, step in zip(*parts, strict=True):
        index[axis] = slice(start, end, step)
    return data[tuple(index)]


def _reshape(data: Array, facts: Facts) -> Array:
    return data.reshape([data.shape[i] if d == 0 else d for i, d in enumerate(facts["shape"])])


_MOVES: dict[str, Callable[[Array, Facts], Array]] = {
    "Reshape": _reshape,
    "Slice": _slice,
    "Transpose": lambda data, facts: np.transpose(data, facts["perm"]),
    "Squeeze": lambda data, facts: np.squeeze(data, tuple(facts["axes"])),
    "Unsqueeze": lambda data, facts: np.expand_dims(data, tuple(facts["axes"])),
    "Identity": lambda data, facts: data,
    "Dropout": lambda data, facts: data,
}


def _gather(walk: Walk, node: onnx.NodeProto) -> None:
    data, index = walk.constant(node, 0), walk.constant(node, 1)
    axis = attributes(node).get("axis", 0)
    _reserve(walk, node, data.size // max(data.shape[axis], 1) * index.size)
    taken = np.take(data, index, axis=axis)
    walk.add_constant(node.output[0], np.asarray(taken, data.dtype))


def _squeeze(walk: Walk, node: onnx.NodeProto) -> None:
    """Of a constant, whose sizes are all known: without axes, every 1 goes."""
    axes = attributes(node).get("axes") or walk.integers(node, 1)  # attribute until opset 12
    data = np.squeeze(walk.constant(node, 0), None if axes is None else tuple(axes))
    walk.add_constant(node.output[0], data, walk.types.get(node.input[0]))


def _concat(walk: Walk, node: onnx.NodeProto) -> None:
    parts = [walk.constant(node, index) for index in range(len(node.input))]
    _reserve(walk, node, sum(part.size for part in parts))
    walk.add_constant(node.output[0], np.concatenate(parts, attributes(node)["axis"]))


def _reserve(walk: Walk, node: onnx.NodeProto, size: int) -> None:
    """A few nodes could ask for any size: all that they make together is counted first."""
    walk.folded += size
    most = max(MOST_FOLDED, TIMES_STORED * walk.stored)
    if walk.folded > most:
        found = f"{size} elements, {walk.folded} with those before"
        raise refuse(node, "computed constants are small", found, f"up to {most} together")


def _cast(walk: Walk, node: onnx.NodeProto) -> None:
    data, element = walk.constant(node, 0), attributes(node)["to"]
    if element in (TensorProto.UNDEFINED, TensorProto.STRING):
        raise refuse(node, "a constant is cast to numbers", TensorProto.DataType.Name(element))
    _reserve(walk, node, data.size)
    if data.dtype != object:  # symbolic dimensions are integers of any type
        data = data.astype(onnx.helper.tensor_dtype_to_np_dtype(element))
    walk.add_constant(node.output[0], data, ELEMENT_TYPES.get(element))


_FOLDS: dict[str, Handler] = {
    "Gather": _gather, "Squeeze": _squeeze, "Concat": _concat, "Cast": _cast,
}  # fmt: skip


def _shape(walk: Walk, node: onnx.NodeProto) -> None:
    """Shape of any tensor; ``start`` and ``end`` from opset 15."""
    facts, shape = attributes(node), walk.shapes.get(node.input[0])
    if shape is None:
        raise refuse(
            node,
            "the shape of a tensor can be inferred",
            "a tensor of unknown rank",
            next_step="run onnx.shape_inference, or write shapes as constants",
        )
    part = shape[facts.get("start", 0) : facts.get("end")]
    symbolic = any(isinstance(dimension, str) for dimension in part)
    walk.add_constant(node.output[0], np.asarray(part, object if symbolic else np.int64))


def _constant(walk: Walk, node: onnx.NodeProto) -> None:
    ((key, value),) = attributes(node).items()
    if key == "value":
        walk.add_tensor(node.output[0], value)
    elif key.startswith(("value_int", "value_float")):
        kind = np.int64 if key.startswith("value_int") else np.float32
        walk.add_constant(node.output[0], np.asarray(value, kind))
    else:
        raise refuse(node, "a constant is a dense tensor of numbers", key)


HANDLERS: dict[tuple[str, str], Handler] = {("", "Shape"): _shape, ("", "Constant"): _constant}
