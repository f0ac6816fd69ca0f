"""Movement of codes: RESHAPE, TRANSPOSE, STRIDED_SLICE, PAD and RESIZE_NEAREST_NEIGHBOR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deployq import affine
from deployq.arithmetic.geometry import Pair
from deployq.arithmetic.oracle.resize import nearest_index
from deployq.qgraph.nodes import Move, Node
from deployq_exporters.tflite.layout import file_axes, onnx_axes
from deployq_exporters.tflite.operators import same_grid
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.windows import pad
from deployq_exporters.tflite.writing import Writing


def write_move(writing: Writing, node: Move) -> None:
    """Any movement.

    Raises:
        UnsupportedError: codes that change their parameters, a movement along the batch, or one
            that no operator has.
    """
    same_grid(writing, node, node.inputs)
    _MOVES[node.op_type](writing, node)


def _reshape(writing: Writing, node: Move) -> None:
    shape = writing.shapes[node.output]
    if not shape:
        raise refuse(node, "a tensor keeps the axis of its batch", found="no axis")
    writing.emit_reshaped(node, writing.in_onnx_order(node.inputs[0]))


def _keep(writing: Writing, node: Move) -> None:
    writing.keep(node)


def _transpose(writing: Writing, node: Move) -> None:
    rank = len(writing.shapes[node.output])
    perm = node.attributes["perm"] or tuple(range(rank))[::-1]
    if perm[0] != 0:
        raise _beyond_batch(node, f"perm {list(perm)}")
    source = onnx_axes(rank)
    axes = writing.integers(f"{node.output}.perm", [source[perm[axis]] for axis in file_axes(rank)])
    inputs = [writing.operand(node.inputs[0]), axes]
    writing.emit(node, "TRANSPOSE", inputs, writing.file.schema.TransposeOptionsT())


def _slice(writing: Writing, node: Move) -> None:
    """Begins, ends and steps along every axis; that of the batch is masked: all of it."""
    shape, facts = writing.shapes[node.inputs[0]], node.attributes
    spans = [slice(0, length, 1) for length in shape]
    parts = zip(facts["axes"], facts["starts"], facts["ends"], facts["steps"], strict=True)
    for axis, start, end, step in parts:
        begin, stop, stride = slice(start, end, step).indices(shape[axis])
        spans[axis % len(shape)] = slice(begin, stop, stride)
    if spans[0] != slice(0, shape[0], 1):
        raise _beyond_batch(node, f"axes {facts['axes']}")
    emit_slice(writing, node, writing.operand(node.inputs[0]), spans)


def emit_slice(writing: Writing, node: Node, index: int, spans: Sequence[slice]) -> None:
    """STRIDED_SLICE of a tensor as the output of a node.

    Args:
        spans: begin, end and step along each axis of ONNX's order; the first is not looked at.
    """
    ordered = [spans[axis] for axis in file_axes(len(spans))]
    limits = {
        "begins": [span.start for span in ordered],
        "ends": [span.stop for span in ordered],
        "steps": [span.step for span in ordered],
    }
    options = writing.file.schema.StridedSliceOptionsT()
    options.beginMask = options.endMask = 1
    constants = [writing.integers(f"{node.output}.{key}", list(v)) for key, v in limits.items()]
    writing.emit(node, "STRIDED_SLICE", [index, *constants], options)


def _pad(writing: Writing, node: Move) -> None:
    facts, rank = node.attributes, len(writing.shapes[node.output])
    pads, half = facts["pads"], len(facts["pads"]) // 2
    each = [(0, 0)] * rank
    for axis, pair in zip(
        facts["axes"] or range(half), zip(pads[:half], pads[half:], strict=True), strict=True
    ):
        each[axis % rank] = pair
    if facts["mode"] not in ("constant", "reflect") or min(pads) < 0:
        raise refuse(
            node,
            "padding adds constant or reflected cells",
            found=f"mode {facts['mode']}, pads {pads}",
            allowed="constant, reflect, pads >= 0",
        )
    if each[0] != (0, 0):
        raise _beyond_batch(node, f"pads {pads}")
    ordered = tuple(each[axis] for axis in file_axes(rank))
    if facts["mode"] == "reflect":
        _mirror(writing, node, ordered)
        return
    qparams = writing.qparams(node.output)
    fill = facts["value"]
    if fill is None:
        fill = int(affine.quantize(np.asarray(facts["real"], np.float32), qparams))
    writing.emit(node, *pad(writing, node, ordered, fill))


def _mirror(writing: Writing, node: Move, pads: Sequence[Pair]) -> None:
    schema = writing.file.schema
    options: Any = schema.MirrorPadOptionsT()
    options.mode = schema.MirrorPadMode.REFLECT
    inputs = [writing.operand(node.inputs[0]), writing.integers(f"{node.output}.pads", pads)]
    writing.emit(node, "MIRROR_PAD", inputs, options)


def _resize(writing: Writing, node: Move) -> None:
    before, after = (writing.shapes[name][2:] for name in (node.inputs[0], node.output))
    pairs = list(zip(before, after, strict=True))
    if not all(_same_cells(length, size) for length, size in pairs):
        raise refuse(
            node,
            "float32 arithmetic takes the cells that the graph states",
            found=f"{list(before)} to {list(after)}",
            next_step="choose a size that is a multiple of the input's",
        )
    size = writing.integers(f"{node.output}.size", after)
    options: Any = writing.file.schema.ResizeNearestNeighborOptionsT()
    writing.emit(node, "RESIZE_NEAREST_NEIGHBOR", [writing.operand(node.inputs[0]), size], options)


def _same_cells(length: int, size: int) -> bool:
    """LiteRT multiplies by the float32 ratio of input to output and rounds down."""
    ratio = np.float32(length) / np.float32(size)
    cells = np.floor(np.arange(size, dtype=np.float32) * ratio).astype(np.int64)
    return bool((np.minimum(cells, length - 1) == nearest_index(length, size)).all())


def _beyond_batch(node: Move, found: str) -> Exception:
    return refuse(
        node,
        "the batch is the first axis and stays whole",
        found=found,
        next_step="move the operator behind the network",
    )


_MOVES: dict[str, Callable[[Writing, Move], None]] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Clip", "Identity", "Dropout"), _keep),
    "Transpose": _transpose,
    "Slice": _slice,
    "Pad": _pad,
    "Resize": _resize,
}
