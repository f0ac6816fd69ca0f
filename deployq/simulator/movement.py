"""Movement operators on code tensors, with ONNX's meaning of their attributes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deployq.arithmetic.kernels.resize import nearest_resize
from deployq.qgraph.nodes import Move
from deployq.qgraph.ranges import pad_code
from deployq.qparams import QParams


def move(x: Tensor, node: Move, qparams: QParams) -> Tensor:
    """The codes of ``x``, moved; padding without a stated code adds that of a real constant."""
    return _MOVES[node.op_type](x, node, qparams)


def _reshape(x: Tensor, node: Move, qparams: QParams) -> Tensor:
    shape = [x.shape[i] if d == 0 else d for i, d in enumerate(node.attributes["shape"])]
    return x.reshape(shape)


def _flatten(x: Tensor, node: Move, qparams: QParams) -> Tensor:
    axis = node.attributes["axis"]
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _transpose(x: Tensor, node: Move, qparams: QParams) -> Tensor:
    return x.permute(node.attributes["perm"] or tuple(range(x.ndim))[::-1])


def _squeeze(x: Tensor, node: Move, qparams: QParams) -> Tensor:
    return x.squeeze(tuple(node.attributes["axes"]))


def _unsqueeze(x: Tensor, node: Move, qparams: QParams) -> Tensor:
    rank = x.ndim + len(node.attributes["axes"])
    for axis in sorted(a % rank for a in node.attributes["axes"]):
        x = x.unsqueeze(axis)
    return x


def _slice(x: Tensor, node: Move, qparams: QParams) -> Tensor:
    facts, index = node.attributes, [slice(None)] * x.ndim
    parts = zip(facts["axes"], facts["starts"], facts["ends"], facts["steps"], strict=True)
    for axis, start, end, step in parts:
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _gather(x: Tensor, node: Move, qparams: QParams) -> Tensor:
    axis = node.attributes["axis"]
    cells = torch.tensor(node.attributes["indices"], device=x.device) % x.shape[axis]
    return x.index_select(axis, cells)


def _pad(x: Tensor, node: Move, qparams: QParams) -> Tensor:
    pads = node.attributes["pads"]
    half = len(pads) // 2
    axes = node.attributes["axes"] or range(half)
    begin, end = [0] * x.ndim, [0] * x.ndim
    for axis, before, after in zip(axes, pads[:half], pads[half:], strict=True):
        begin[axis], end[axis] = before, after
    mode = node.attributes["mode"]
    if mode != "constant":
        for axis, sides in enumerate(zip(begin, end, strict=True)):
            cells = np.pad(np.arange(x.shape[axis]), sides, mode)  # its modes have ONNX's names
            x = x.index_select(axis, torch.from_numpy(cells))
        return x
    # torch lists pads from the last axis to the first
    order: list[int] = [p for pair in zip(begin[::-1], end[::-1], strict=True) for p in pair]
    return functional.pad(x, order, value=pad_code(node, qparams))


def _resize(x: Tensor, node: Move, qparams: QParams) -> Tensor:
    rows, columns = node.attributes["sizes"] or (
        length * factor
        for length, factor in zip(x.shape[2:], node.attributes["scales"], strict=True)
    )
    return nearest_resize(x, (rows, columns))


_MOVES: dict[str, Callable[[Tensor, Move, QParams], Tensor]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": _resize,
    "Clip": lambda x, node, qparams: x,  # its bounds apply to every node
    "Identity": lambda x, node, qparams: x,
    "Dropout": lambda x, node, qparams: x,
}
