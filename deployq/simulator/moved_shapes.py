"""What operators that move codes make of a shape; each refuses a shape that it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

from deployq.errors import InputError
from deployq.qgraph.nodes import Move

Shape = tuple[int, ...]


def moved_shape(node: Move, shape: Shape) -> Shape:
    """Shape of the output.

    Args:
        node: with ONNX's meaning of its attributes.
        shape: of the operand, no axis empty.

    Raises:
        InputError: the attributes do not fit the shape.
    """
    return _SHAPES[node.op_type](node, shape)


def unfit(node: Move, shape: Shape) -> InputError:
    """The error for a shape that an operator cannot take."""
    stated = {key: value for key, value in node.attributes.items() if value is not None}
    return InputError(
        node.op_type,
        "attributes fit the shape of the operand",
        found=f"shape {shape}, {stated}",
        next_step="check the shapes of the inputs, or the file",
    )


def _axes(node: Move, shape: Shape, axes: Sequence[int]) -> list[int]:
    """From 0, each once."""
    rank = len(shape)
    counted = [axis + rank if axis < 0 else axis for axis in axes]
    if len(set(counted)) < len(counted) or not all(0 <= axis < rank for axis in counted):
        raise unfit(node, shape)
    return counted


def _reshape(node: Move, shape: Shape) -> Shape:
    stated = node.attributes["shape"]
    if any(d < -1 or (d == 0 and i >= len(shape)) for i, d in enumerate(stated)):
        raise unfit(node, shape)
    sizes = [shape[i] if d == 0 else d for i, d in enumerate(stated)]
    rest = prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and prod(shape) % rest == 0:
        sizes[sizes.index(-1)] = prod(shape) // rest
    if -1 in sizes or prod(sizes) != prod(shape):
        raise unfit(node, shape)
    return tuple(sizes)


def _flatten(node: Move, shape: Shape) -> Shape:
    axis = node.attributes["axis"]
    if not -len(shape) <= axis <= len(shape):
        raise unfit(node, shape)
    axis = axis + len(shape) if axis < 0 else axis
    return prod(shape[:axis]), prod(shape[axis:])


def _transpose(node: Move, shape: Shape) -> Shape:
    perm = node.attributes["perm"] or range(len(shape))[::-1]
    if sorted(perm) != list(range(len(shape))):
        raise unfit(node, shape)
    return tuple(shape[axis] for axis in perm)


def _squeeze(node: Move, shape: Shape) -> Shape:
    axes = _axes(node, shape, node.attributes["axes"])
    if any(shape[axis] != 1 for axis in axes):
        raise unfit(node, shape)
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _unsqueeze(node: Move, shape: Shape) -> Shape:
    wider = (1,) * (len(shape) + len(node.attributes["axes"]))
    axes, sizes = _axes(node, wider, node.attributes["axes"]), iter(shape)
    return tuple(1 if axis in axes else next(sizes) for axis in range(len(wider)))


def _slice(node: Move, shape: Shape) -> Shape:
    facts, sizes = node.attributes, list(shape)
    axes = _axes(node, shape, facts["axes"])
    parts = zip(axes, facts["starts"], facts["ends"], facts["steps"], strict=True)
    for axis, start, end, step in parts:
        sizes[axis] = len(range(shape[axis])[start:end:step])
    return tuple(sizes)


def _pad(node: Move, shape: Shape) -> Shape:
    """Every mode; what mirrors is shorter than the axis."""
    pads, mode, sizes = node.attributes["pads"], node.attributes["mode"], list(shape)
    half = len(pads) // 2
    axes = _axes(node, shape, node.attributes["axes"] or range(half))
    if len(pads) != 2 * len(axes):
        raise unfit(node, shape)
    for axis, *sides in zip(axes, pads[:half], pads[half:], strict=True):
        if mode != "constant" and (
            min(sides) < 0 or (mode == "reflect" and max(sides) >= shape[axis])
        ):
            raise unfit(node, shape)
        sizes[axis] += sum(sides)
        if min(sizes[axis], shape[axis] + min(sides)) < 0:
            raise unfit(node, shape)
    return tuple(sizes)


def _gather(node: Move, shape: Shape) -> Shape:
    (axis,), indices = _axes(node, shape, [node.attributes["axis"]]), node.attributes["indices"]
    if not all(-shape[axis] <= index < shape[axis] for index in indices):
        raise unfit(node, shape)
    return *shape[:axis], len(indices), *shape[axis + 1 :]


def _resize(node: Move, shape: Shape) -> Shape:
    if len(shape) != 4:
        raise unfit(node, shape)
    scales = node.attributes["scales"] or (1, 1)
    rows, columns = node.attributes["sizes"] or (
        length * scale for length, scale in zip(shape[2:], scales, strict=True)
    )
    return *shape[:2], rows, columns


def _same(node: Move, shape: Shape) -> Shape:
    return shape


_SHAPES: Mapping[str, Callable[[Move, Shape], Shape]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": _resize,
    "Clip": _same,
    "Identity": _same,
    "Dropout": _same,
}
