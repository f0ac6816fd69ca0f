"""Operators that move codes: between DequantizeLinear and QuantizeLinear, or on codes directly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import onnx

from deployq.qgraph.nodes import Move
from deployq.qgraph.resizing import resize_facts
from deployq.qgraph.shapes import Dimension
from deployq.qgraph.values import CodesOf, attributes, label, refuse
from deployq.qgraph.walk import PENDING, Handler, Walk

Facts = dict[str, Any]

PAD_MODES = ("constant", "reflect", "edge")


def _reshape(walk: Walk, node: onnx.NodeProto) -> Facts:
    shape = walk.sizes(node, 1)
    if shape is None or (0 in shape and attributes(node).get("allowzero", 0)):
        raise refuse(node, "Reshape has a constant shape without empty axes", str(shape))
    return {"shape": [_target(walk, node, shape, axis) for axis in range(len(shape))]}


def _target(walk: Walk, node: onnx.NodeProto, shape: list[Dimension], axis: int) -> int:
    """A symbolic dimension is copied from the input (0), or follows from the others (-1)."""
    dimension = shape[axis]
    if isinstance(dimension, int):
        return dimension
    if walk.shapes.get(node.input[0], ())[axis : axis + 1] == (dimension,):
        return 0
    if sum(isinstance(d, str) or d == -1 for d in shape) == 1:
        return -1
    raise refuse(node, "Reshape has at most one unknown size", str(shape))


def _flatten(walk: Walk, node: onnx.NodeProto) -> Facts:
    return {"axis": attributes(node).get("axis", 1)}


def _transpose(walk: Walk, node: onnx.NodeProto) -> Facts:
    return {"perm": attributes(node).get("perm")}


def _axes(walk: Walk, node: onnx.NodeProto) -> Facts:
    axes = attributes(node).get("axes") or walk.integers(node, 1)  # attribute until opset 12
    if axes is None:
        raise refuse(
            node,
            f"{node.op_type} states its axes",
            "none",
            next_step="state the axes, so that a batch of 1 keeps its axis",
        )
    return {"axes": axes}


def slice_facts(walk: Walk, node: onnx.NodeProto) -> Facts:
    """Starts, ends, axes and steps, of equal lengths; attributes until opset 9."""
    facts = attributes(node)
    starts = facts.get("starts") or walk.integers(node, 1) or []
    ends = facts.get("ends") or walk.integers(node, 2) or []
    axes = facts.get("axes") or walk.integers(node, 3) or list(range(len(starts)))
    steps = walk.integers(node, 4) or [1] * len(axes)
    if min(steps, default=1) < 1:
        raise refuse(node, "Slice goes forward", f"steps {steps}", "steps >= 1")
    if len({len(starts), len(ends), len(axes), len(steps)}) > 1:
        found = f"starts {starts}, ends {ends}, axes {axes}, steps {steps}"
        raise refuse(node, "Slice has a start, an end and a step for each axis", found)
    return {"starts": starts, "ends": ends, "axes": axes, "steps": steps}


def _gather(walk: Walk, node: onnx.NodeProto) -> Facts:
    """Whole rows along one axis, chosen by a list of constants."""
    indices = walk.constant(node, 1)
    if indices.ndim != 1 or not indices.size:
        found = f"indices of shape {indices.shape}"
        raise refuse(node, "Gather takes a list of rows", found, "constants of one axis")
    return {"axis": attributes(node).get("axis", 0), "indices": [int(i) for i in indices]}


def _pad(walk: Walk, node: onnx.NodeProto) -> Facts:
    """Pads as ONNX has them; the value is real before a QuantizeLinear and a code without."""
    facts = attributes(node)
    mode = facts.get("mode", "constant")
    if mode not in PAD_MODES:
        raise refuse(node, "Pad has a mode that moves codes", mode, ", ".join(PAD_MODES))
    pads = facts.get("pads") or walk.integers(node, 1)  # attribute until opset 10
    value = (walk.integers(node, 2) or [facts.get("value", 0)])[0]
    on_codes = isinstance(walk.value(node, 0), CodesOf)
    if not on_codes and value != 0 and not math.isinf(value):
        raise refuse(node, "Pad adds the real zero, or an infinity", str(value), "0.0")
    stated = {"value": int(value)} if on_codes else {"value": None, "real": float(value)}
    return {"pads": pads, "axes": walk.integers(node, 3), "mode": mode, **stated}


def _nothing(walk: Walk, node: onnx.NodeProto) -> Facts:
    return {}


def _dropout(walk: Walk, node: onnx.NodeProto) -> Facts:
    if any(walk.integers(node, 2) or []):
        raise refuse(
            node,
            "Dropout does nothing",
            "training_mode is true",
            "false",
            next_step="export the model for inference",
        )
    return {}


READ: dict[str, Callable[[Walk, onnx.NodeProto], Facts]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _axes,
    "Unsqueeze": _axes,
    "Slice": slice_facts,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": resize_facts,
    "Identity": _nothing,
    "Dropout": _dropout,
}
"""Operator to the function that reads its attributes."""


def _move(walk: Walk, node: onnx.NodeProto) -> None:
    facts = READ[node.op_type](walk, node)
    walk.place(node, Move(name=label(node), op_type=node.op_type, inputs=(), output=PENDING,
                          attributes=facts))  # fmt: skip


HANDLERS: dict[tuple[str, str], Handler] = {("", op): _move for op in READ}
