"""One output place of a layer as a linear function of the cells of a small input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deployq.arithmetic.geometry import ConvGeometry, ConvTransposeGeometry, PoolGeometry
from deployq.arithmetic.rounding import Int64Array
from deployq.arithmetic.taps import OUTSIDE, window_taps
from deployq.qgraph.nodes import Linear

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Window:
    """``sum = offset[o] + sum(coefficients[o] * (code - zero point))`` over the cells ``cells[o]``.

    Args:
        shape: of one input, without the batch; the map is as large as the window needs.
        cells: (O, K) flat indices into it.
        coefficients: (O, K) int64.
        offset: (O,) int64.
        groups: outputs come in this many runs; each run reads cells of its own.
    """

    shape: Shape
    cells: Int64Array
    coefficients: Int64Array
    offset: Int64Array
    groups: int = 1

    def bounds(self, low: int, high: int) -> tuple[Int64Array, Int64Array]:
        """(O,) smallest and largest sums over codes that lie ``low..high`` from the zero point."""
        ends = np.stack([self.coefficients * low, self.coefficients * high])
        return ends.min(0).sum(1) + self.offset, ends.max(0).sum(1) + self.offset


def layer_window(node: Linear) -> Window:
    """Of a weighted layer: the place that reads the most cells."""
    zeros = node.weight_qparams.zero_point
    bias = node.bias
    if node.weight.ndim == 2:
        weight = (node.weight.astype(np.int64) - zeros).T
        offset = np.zeros(len(weight), np.int64) if bias is None else bias.astype(np.int64)
        depth = weight.shape[1]
        return Window((depth,), np.tile(np.arange(depth), (len(weight), 1)), weight, offset)
    weight = node.weight.astype(np.int64) - np.reshape(zeros, (-1, 1, 1, 1))
    offset = np.zeros(len(weight), np.int64) if bias is None else bias.astype(np.int64)
    geometry, kernel = node.geometry, (weight.shape[2], weight.shape[3])
    height, width = _size(geometry, 0, kernel[0]), _size(geometry, 1, kernel[1])
    met = window_taps(geometry, (height, width), kernel)
    (rows, taps), (columns, others) = (_most(cells) for cells in met)
    outputs, depth = weight.shape[:2]
    channel = np.arange(outputs) // (outputs // geometry.groups) * depth
    channel = channel[:, None] + np.arange(depth)
    cells = (channel[:, :, None, None] * height + rows[:, None]) * width + columns
    picked = weight[:, :, taps][:, :, :, others]
    shape = (depth * geometry.groups, height, width)
    flat = (outputs, -1)
    return Window(shape, cells.reshape(flat), picked.reshape(flat), offset, geometry.groups)


def pool_window(geometry: PoolGeometry | None, size: tuple[int, int]) -> Window:
    """Of an average pool over a map of ``size``, one channel: the first place inside it."""
    rows, columns = np.arange(size[0]), np.arange(size[1])
    if geometry is not None:
        rows, columns = (
            np.arange(start, min(start + geometry.kernel[axis], size[axis]))
            for axis in (0, 1)
            for start in [_start(geometry.strides[axis], geometry.pads[axis])]
        )
    cells = (rows[:, None] * size[1] + columns).reshape(1, -1)
    return Window((1, *size), cells, np.ones_like(cells), np.zeros(1, np.int64))


def _start(stride: int, pad: int) -> int:
    """The first cell of the first window that lies behind the padding."""
    return -(-pad // stride) * stride - pad


def _size(geometry: ConvGeometry, axis: int, kernel: int) -> int:
    """Cells of the shortest map on which some output reads all that any reads."""
    stride, span = geometry.strides[axis], geometry.dilations[axis] * (kernel - 1) + 1
    if isinstance(geometry, ConvTransposeGeometry):
        return (span - 1 + geometry.pads[axis] + geometry.pads[axis + 2]) // stride + 2
    return _start(stride, geometry.pads[axis]) + span


def _most(cells: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Cells and window cells of the output that meets the most of them."""
    row = cells[int((cells != OUTSIDE).sum(1).argmax())]
    taps = np.flatnonzero(row != OUTSIDE)
    return row[taps], taps
