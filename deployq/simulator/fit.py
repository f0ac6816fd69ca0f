"""Do operands fit their operator? Asked before anything is computed or allocated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from math import prod

from deployq.arithmetic.geometry import ConvTransposeGeometry, PoolGeometry
from deployq.errors import InputError
from deployq.qgraph.nodes import (
    OUTPUTS_FIRST,
    Concat,
    Elementwise,
    Linear,
    Lookup,
    MatMul,
    Move,
    Node,
    Pool,
    Rescale,
    RowNormalization,
    Softmax,
)
from deployq.simulator.moved_shapes import Shape, moved_shape

MOST = 1 << 26
"""Elements of a tensor that a file may ask for, whatever it is fed."""

GROWTH = 1 << 10
"""Elements of a tensor for each element of the inputs, where that is more."""


def most_elements(inputs: Sequence[Shape]) -> int:
    """Elements that a tensor of a run may have: a few bytes of a file can declare any size."""
    return max([MOST, *(GROWTH * prod(shape) for shape in inputs)])


def check_size(where: str, shape: Shape, most: int = MOST) -> None:
    """Raises InputError where a tensor would have more than ``most`` elements."""
    if prod(shape) > most:
        raise InputError(
            where,
            "a tensor has a size that can be meant",
            found=f"shape {shape}, {prod(shape)} elements",
            allowed=f"up to {most}",
            next_step="check the sizes, pads and factors in the file",
        )


def check_fit(node: Node, shapes: Sequence[Shape], most: int) -> None:
    """Refuse operands that an operator cannot take, and results beyond ``most`` elements.

    Raises:
        InputError: with the shapes.
    """
    for shape in shapes:
        if 0 in shape:
            raise _unfit(shape, "no empty axis")
    result = _RESULTS[type(node)](node, most, *shapes)
    check_size("output", result, most)


def _unfit(found: object, allowed: str) -> InputError:
    return InputError(
        "operands",
        "shapes fit their operator",
        found=f"shape {found}",
        allowed=allowed,
        next_step="check the shapes of the inputs, or the file",
    )


def _linear(node: Linear, most: int, shape: Shape, *addends: Shape) -> Shape:
    result = linear_shape(node, most, shape)
    for addend in addends:
        if addend != result:
            raise _unfit(addend, f"{result}, as the sums that it joins")
    return result


def linear_shape(node: Linear, most: int, shape: Shape) -> Shape:
    """The shape of a layer's sums; errors as :func:`check_fit`."""
    weight = node.weight.shape
    if node.op_type in OUTPUTS_FIRST:
        return _convolution(node, most, shape)
    if not shape or shape[-1] != weight[0] or (node.op_type == "Gemm" and len(shape) != 2):
        raise _unfit(shape, f"(..., {weight[0]})")
    return *shape[:-1], weight[1]


def _convolution(node: Linear, most: int, shape: Shape) -> Shape:
    samples, channels, *size = _windowed(shape)
    geometry, (outputs, _, *kernel) = node.geometry, node.weight.shape
    window, cells = (kernel[0], kernel[1]), (size[0], size[1])
    geometry.check_channels(channels, node.weight.shape)
    if isinstance(geometry, ConvTransposeGeometry):
        whole = zip(geometry.whole_size(cells, window), geometry.output_padding, strict=True)
        check_size("whole output", (samples, outputs, *(a + b for a, b in whole)), most)
    else:
        check_size("padded operand", _padded(shape, geometry.pads), most)
    return samples, outputs, *geometry.output_size(cells, window)


def _windowed(shape: Shape) -> Shape:
    if len(shape) != 4:
        raise _unfit(shape, "(N, C, H, W)")
    return shape


def _padded(shape: Shape, pads: Sequence[int]) -> Shape:
    return *shape[:2], shape[2] + pads[0] + pads[2], shape[3] + pads[1] + pads[3]


def _pool(node: Pool, most: int, shape: Shape) -> Shape:
    _windowed(shape)
    geometry: PoolGeometry | None = node.geometry
    if geometry is None:
        return *shape[:2], 1, 1
    check_size("padded operand", _padded(shape, geometry.pads), most)
    return *shape[:2], *geometry.output_size((shape[2], shape[3]))


def _matmul(node: MatMul, most: int, a: Shape, b: Shape) -> Shape:
    if min(len(a), len(b)) < 2 or a[-1] != b[-2]:
        raise _unfit(f"{a} and {b}", "(..., M, K) and (..., K, N)")
    return *_broadcast(a[:-2], b[:-2]), a[-2], b[-1]


def _elementwise(node: Elementwise, most: int, a: Shape, b: Shape) -> Shape:
    return _broadcast(a, b)


def _broadcast(a: Shape, b: Shape) -> Shape:
    pairs = list(zip_longest(a[::-1], b[::-1], fillvalue=1))
    if any(x != y and 1 not in (x, y) for x, y in pairs):
        raise _unfit(f"{a} and {b}", "shapes that broadcast")
    return tuple(max(pair) for pair in pairs)[::-1]


def _concat(node: Concat, most: int, *shapes: Shape) -> Shape:
    first, axis = shapes[0], node.axis
    if not -len(first) <= axis < len(first):
        raise _unfit(first, f"an axis {axis}")
    axis %= len(first)
    others = {(len(shape), shape[:axis], shape[axis + 1 :]) for shape in shapes}
    if len(others) > 1:
        raise _unfit(" and ".join(map(str, shapes)), f"equal but for axis {axis}")
    return *first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :]


def _softmax(node: Softmax, most: int, shape: Shape) -> Shape:
    if not shape:
        raise _unfit(shape, "at least one axis")
    return shape


def _normalized(node: RowNormalization, most: int, shape: Shape) -> Shape:
    length = node.norm.scale.size
    if not shape or shape[-1] != length:
        raise _unfit(shape, f"(..., {length})")
    return shape


def _same(node: Node, most: int, shape: Shape) -> Shape:
    return shape


def _move(node: Move, most: int, shape: Shape) -> Shape:
    return moved_shape(node, shape)


_RESULTS: Mapping[type[Node], Callable[..., Shape]] = {
    Linear: _linear,
    MatMul: _matmul,
    Elementwise: _elementwise,
    Pool: _pool,
    Concat: _concat,
    Softmax: _softmax,
    RowNormalization: _normalized,
    Lookup: _same,
    Rescale: _same,
    Move: _move,
}
"""Kind of node to the shape of its result."""
