"""Relu and Clip: they narrow the operator before them, look codes up, or clip codes (QCDQ)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from deployq.arithmetic.oracle.lookup import UnaryParams
from deployq.qgraph.nodes import Lookup, Move
from deployq.qgraph.values import (
    Clamp,
    CodesOf,
    Constant,
    GraphInput,
    Waiting,
    attributes,
    label,
    refuse,
)
from deployq.qgraph.walk import PENDING, Handler, Walk


def _relu(walk: Walk, node: onnx.NodeProto) -> None:
    _clamp_reals(walk, node, Clamp(low=0.0))


def _clip(walk: Walk, node: onnx.NodeProto) -> None:
    """Clip of reals narrows what comes; Clip of codes is QCDQ's stated range."""
    clamp, value = _limits(walk, node), walk.value(node, 0)
    if isinstance(value, Constant):
        clipped = np.clip(value.data, clamp.low, clamp.high).astype(value.data.dtype)
        walk.add_constant(node.output[0], clipped, walk.types.get(node.input[0]))
    elif isinstance(value, CodesOf):
        qtype = walk.types[value.name]
        bounds = int(max(clamp.low, qtype.qmin)), int(min(clamp.high, qtype.qmax))
        made = Move(name=label(node), op_type="Clip", inputs=(), output=PENDING, bounds=bounds)
        walk.place(node, made)
    else:
        _clamp_reals(walk, node, clamp)


def _limits(walk: Walk, node: onnx.NodeProto) -> Clamp:
    """Attributes until opset 6, inputs from opset 11."""
    facts, limits = attributes(node), [Clamp().low, Clamp().high]
    for index, key in enumerate(("min", "max")):
        if key in facts:
            limits[index] = facts[key]
        elif stated := walk.integers(node, index + 1):
            limits[index] = stated[0]
    if not limits[0] <= limits[1]:
        raise refuse(
            node,
            "min is at most max",
            f"{limits[0]}, {limits[1]}",
            next_step="replace the Clip by its max, which is all that it gives",
        )
    return Clamp(*limits)


def _clamp_reals(walk: Walk, node: onnx.NodeProto, clamp: Clamp) -> None:
    value = walk.value(node, 0)
    if isinstance(value, Waiting | GraphInput):
        walk.values[node.output[0]] = replace(value, clamp=value.clamp.then(clamp))
        return
    made = Lookup(
        name=label(node), op_type=node.op_type, inputs=(walk.operand(node, 0),), output=PENDING,
        params=UnaryParams(low=clamp.low, high=clamp.high),
    )  # fmt: skip
    walk.wait(node, made)


HANDLERS: dict[tuple[str, str], Handler] = {("", "Relu"): _relu, ("", "Clip"): _clip}
