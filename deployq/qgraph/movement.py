"""Operators that move codes: between DequantizeLinear and QuantizeLinear, or on codes directly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from deployq.qgraph.nodes import Move, Node, Pool
from deployq.qgraph.qdq import clamp, pool_geometry
from deployq.qgraph.values import (
    CodesOf,
    Constant,
    QuantizedConstant,
    Waiting,
    attributes,
    label,
    refuse,
)
from deployq.qgraph.walk import PENDING, Handler, Walk

Facts = dict[str, Any]


def _ints(walk: Walk, node: onnx.NodeProto, index: int) -> list[int] | None:
    if walk.optional(node, index) is None:
        return None
    return [int(v) for v in walk.constant(node, index).reshape(-1)]


def _reshape(walk: Walk, node: onnx.NodeProto) -> Facts:
    shape = _ints(walk, node, 1)
    if shape is None or (0 in shape and attributes(node).get("allowzero", 0)):
        raise refuse(node, "Reshape has a constant shape", str(shape))
    return {"shape": shape}


def _flatten(walk: Walk, node: onnx.NodeProto) -> Facts:
    return {"axis": attributes(node).get("axis", 1)}


def _transpose(walk: Walk, node: onnx.NodeProto) -> Facts:
    return {"perm": list(attributes(node)["perm"])}


def _axes(walk: Walk, node: onnx.NodeProto) -> Facts:
    axes = attributes(node).get("axes") or _ints(walk, node, 1)  # attribute until opset 12
    if axes is None:
        raise refuse(node, f"{node.op_type} states its axes", "none")
    return {"axes": list(axes)}


def _slice(walk: Walk, node: onnx.NodeProto) -> Facts:
    facts = attributes(node)
    starts = facts.get("starts") or _ints(walk, node, 1)  # attributes until opset 9
    ends = facts.get("ends") or _ints(walk, node, 2)
    axes = facts.get("axes") or _ints(walk, node, 3) or list(range(len(starts or [])))
    steps = _ints(walk, node, 4) or [1] * len(axes)
    if min(steps) < 1:
        raise refuse(node, "Slice goes forward", f"steps {steps}", "steps >= 1")
    return {"starts": starts, "ends": ends, "axes": axes, "steps": steps}


def _pad(walk: Walk, node: onnx.NodeProto) -> Facts:
    """Pads as ONNX has them; the value is real before a QuantizeLinear and a code without."""
    facts = attributes(node)
    if facts.get("mode", "constant") != "constant":
        raise refuse(node, "Pad has constant mode", facts["mode"])
    pads = facts.get("pads") or _ints(walk, node, 1)  # attribute until opset 10
    value = facts.get("value", 0.0)
    if walk.optional(node, 2) is not None:
        value = walk.constant(node, 2).reshape(-1)[0].item()
    on_codes = isinstance(walk.value(node, 0), CodesOf)
    if not on_codes and value != 0.0:
        raise refuse(node, "Pad adds the real zero", str(value), "0.0")
    axes = _ints(walk, node, 3)
    return {"pads": pads, "axes": axes, "value": int(value) if on_codes else None}


def _nothing(walk: Walk, node: onnx.NodeProto) -> Facts:
    return {}


READ: dict[str, Callable[[Walk, onnx.NodeProto], Facts]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _axes,
    "Unsqueeze": _axes,
    "Slice": _slice,
    "Pad": _pad,
    "Identity": _nothing,
    "Dropout": _nothing,
}
"""Operator to the function that reads its attributes."""


def _move(walk: Walk, node: onnx.NodeProto) -> None:
    value = walk.value(node, 0)
    if isinstance(value, QuantizedConstant) and node.op_type == "Transpose":
        walk.values[node.output[0]] = value.transposed(tuple(attributes(node)["perm"]))
        return
    if isinstance(value, Constant) and node.op_type == "Identity":
        walk.values[node.output[0]] = value
        return
    facts = READ[node.op_type](walk, node)
    _place(
        walk, node,
        lambda codes: Move(
            name=label(node), op_type=node.op_type, inputs=(codes,), output=PENDING,
            attributes=facts,
        ),
    )  # fmt: skip


def _max_pool(walk: Walk, node: onnx.NodeProto) -> None:
    geometry = pool_geometry(node)
    _place(
        walk, node,
        lambda codes: Pool(
            name=label(node), op_type="MaxPool", inputs=(codes,), output=PENDING,
            geometry=geometry,
        ),
    )  # fmt: skip


def _place(walk: Walk, node: onnx.NodeProto, make: Callable[[str], Node]) -> None:
    """Emit at once on codes; wait for the QuantizeLinear behind a DequantizeLinear."""
    value = walk.value(node, 0)
    if isinstance(value, CodesOf):
        if value.name not in walk.qparams:
            raise refuse(node, "codes have parameters before they are moved", value.name)
        made = make(value.name)
        walk.emit_as(made, node.output[0], walk.qparams[value.name])
    else:
        walk.values[node.output[0]] = Waiting(make(walk.codes(node, 0).codes))


def _clip(walk: Walk, node: onnx.NodeProto) -> None:
    """Clip of reals narrows what comes; Clip of codes is QCDQ's stated range."""
    value = walk.value(node, 0)
    if not isinstance(value, CodesOf):
        clamp(walk, node)
        return
    qparams = walk.qparams[value.name]
    limits = [qparams.qtype.qmin, qparams.qtype.qmax]
    for index in (1, 2):
        if walk.optional(node, index) is not None:
            limits[index - 1] = int(np.asarray(walk.constant(node, index)).item())
    made = Move(
        name=label(node), op_type="Clip", inputs=(value.name,), output=node.output[0],
        bounds=(limits[0], limits[1]),
    )  # fmt: skip
    walk.emit(made, qparams)


HANDLERS: dict[tuple[str, str], Handler] = {
    **{("", op): _move for op in READ},
    ("", "MaxPool"): _max_pool,
    ("", "Clip"): _clip,
}
