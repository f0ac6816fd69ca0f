"""Operators that choose, order or join values: Concat, Split, Slice, Gather, Transpose, Pad, ..."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deployq.graph.onnx_import.arguments import constant, expect, number, numbers
from deployq.graph.onnx_import.batch import is_batch, own_axis
from deployq.graph.onnx_import.node import OnnxNode, Value
from deployq.graph.onnx_import.operators.operator import ALL, Operator


def concat(node: OnnxNode, *parts: Tensor) -> Tensor:
    """Concat-4 to 13; a constant (a class token) is repeated for every sample."""
    whole = next((part for part in parts if any(map(is_batch, part.shape))), parts[0])
    axis = own_axis(node, whole, node.get("axis", 1))
    repeated = [
        part.expand([s if is_batch(s) else -1 for s in whole.shape])
        if part.ndim == whole.ndim and not any(map(is_batch, part.shape))
        else part
        for part in parts
    ]
    return torch.cat(repeated, axis)


def split(node: OnnxNode, x: Tensor, sizes: Value = None) -> tuple[Tensor, ...]:
    """Split-2 (attribute), 13 (input) and 18 (``num_outputs``), as slices."""
    axis = own_axis(node, x, node.get("axis", 0))
    count, size = len(node.outputs), int(x.shape[axis])
    even = -(-size // count)
    parts = numbers(node, sizes, "split") or [
        min(even, size - even * index) for index in range(count)
    ]
    ends = np.cumsum(parts).tolist()
    return tuple(_cut(x, axis, end - part, end) for part, end in zip(parts, ends, strict=True))


def _cut(x: Tensor, axis: int, start: int, end: int, step: int = 1) -> Tensor:
    return x[(slice(None),) * axis + (slice(start, end, step),)]


def slice_(node: OnnxNode, x: Tensor, *rest: Value) -> Tensor:
    """Slice-1 (attributes) and 10 (inputs), forwards."""
    starts, ends, axes, steps = (
        numbers(node, rest[i] if i < len(rest) else None, key)
        for i, key in enumerate(("starts", "ends", "axes", "steps"))
    )
    for i, axis in enumerate(axes or range(len(starts))):
        step = steps[i] if steps else 1
        if is_batch(x.shape[axis]) and (starts[i], step) == (0, 1) and _is_last(ends[i]):
            continue
        axis = own_axis(node, x, axis)
        expect(node, step > 0, "a Slice runs forwards", f"step {step}", "step >= 1")
        start, end, _ = slice(starts[i], ends[i], step).indices(int(x.shape[axis]))
        if (start, end, step) != (0, x.shape[axis], 1):
            x = _cut(x, axis, start, end, step)
    return x


def _is_last(end: Any) -> bool:
    return is_batch(end) or end >= 2**31 - 1


def gather(node: OnnxNode, x: Tensor, index: Value) -> Tensor:
    """Gather-1 to 13 of one place, or of places in even steps."""
    expect(
        node,
        not isinstance(x, np.ndarray),
        "Gather takes from an activation: a table looked up by the data has no float32 input",
        "a constant table",
        "constant indices",
    )
    axis = own_axis(node, x, node.get("axis", 0))
    places = np.asarray(constant(node, index, "indices")).astype(np.int64) % int(x.shape[axis])
    if places.ndim == 0:
        return x.select(axis, int(places))
    steps = set(np.diff(places).tolist()) or {1} if places.ndim == 1 else {0}
    step = steps.pop()
    expect(
        node,
        not steps and step > 0,
        "gathered places are one number or rise in even steps",
        places.ravel()[:8].tolist(),
        "an index, or a list such as [0, 2, 4]",
    )
    return _cut(x, axis, int(places[0]), int(places[-1]) + 1, step)


def transpose(node: OnnxNode, x: Tensor) -> Tensor:
    return x.permute(node.get("perm") or list(range(x.ndim))[::-1])


def pad(
    node: OnnxNode, x: Tensor, pads: Value = None, fill: Value = None, axes: Value = None
) -> Tensor:
    """Pad-2 (attributes), 11 (inputs) and 18 (``axes``)."""
    widths = numbers(node, pads, "pads")
    given = numbers(node, axes, "axes", list(range(x.ndim)))
    begins, ends = [0] * x.ndim, [0] * x.ndim
    for place, axis in enumerate(given):
        begins[axis], ends[axis] = widths[place], widths[place + len(given)]
    for axis in range(x.ndim):
        if begins[axis] or ends[axis]:
            own_axis(node, x, axis)
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    kind = node.get("mode", "constant")
    expect(node, kind in mode, "Pad has a known mode", kind, ", ".join(mode))
    changed = [axis for axis in range(x.ndim) if begins[axis] or ends[axis]]
    if not changed:
        return x
    first = changed[0] if kind == "constant" else max(2, min(2, x.ndim - 1))
    expect(
        node,
        kind == "constant" or changed[0] >= 2,
        f"{kind} pads rows and columns",
        f"axis {changed[0]}",
        "axes 2 and above",
    )
    flat = [n for axis in range(x.ndim - 1, first - 1, -1) for n in (begins[axis], ends[axis])]
    if kind != "constant":
        return F.pad(x, flat, mode=mode[kind])
    return F.pad(x, flat, value=number(node, fill, "value", 0.0))


def depth_to_space(node: OnnxNode, x: Tensor) -> Tensor:
    """DepthToSpace-1 to 13: DCR, depth first, or CRD as in torch."""
    block = node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    _, channels, rows, columns = (x.shape[0], *(int(size) for size in x.shape[1:]))
    parts = x.reshape(-1, block, block, channels // block**2, rows, columns)
    moved = parts.permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(-1, channels // block**2, rows * block, columns * block)


def space_to_depth(node: OnnxNode, x: Tensor) -> Tensor:
    """SpaceToDepth-1 to 13: DepthToSpace in DCR mode, backwards."""
    block = node.get("blocksize")
    channels, rows, columns = (int(size) for size in x.shape[1:])
    parts = x.reshape(-1, channels, rows // block, block, columns // block, block)
    moved = parts.permute(0, 3, 5, 1, 2, 4)
    return moved.reshape(-1, channels * block**2, rows // block, columns // block)


OPERATORS = {
    "Concat": Operator(concat),
    "Split": Operator(split, static=ALL),
    "Slice": Operator(slice_, static=ALL),
    "Gather": Operator(gather, static=(0, *ALL)),
    "Transpose": Operator(transpose),
    "Pad": Operator(pad, static=ALL),
    "DepthToSpace": Operator(depth_to_space),
    "SpaceToDepth": Operator(space_to_depth),
}
