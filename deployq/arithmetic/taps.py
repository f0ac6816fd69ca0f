"""Which input cell each cell of a sliding window meets, at each output position.

Both kinds of convolution are separable here: the answer for a window cell (i, j) at an output cell
(y, x) is a row that depends on y and i, and a column that depends on x and j.
"""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.geometry import ConvGeometry, ConvTransposeGeometry, Pair
from deployq.arithmetic.rounding import Int64Array

OUTSIDE = -1
"""The tap of a window cell that lies on padding, or whose product lands on another output cell."""


def window_taps(geometry: ConvGeometry, size: Pair, kernel: Pair) -> tuple[Int64Array, Int64Array]:
    """Input rows (H', kh) and columns (W', kw), :data:`OUTSIDE` where there is none.

    Args:
        geometry: of a Conv, or a ConvTransposeGeometry.
        size: rows and columns of the input.
        kernel: rows and columns of the window.

    Raises:
        InputError: the window does not fit, or pads leave nothing of the output.
    """
    lengths = geometry.output_size(size, kernel)
    rows, columns = (_taps(geometry, axis, size, kernel, lengths) for axis in (0, 1))
    return rows, columns


def roomy_size(geometry: ConvGeometry, kernel: Pair) -> Pair:
    """Rows and columns of a map on which every set of taps occurs that a larger map has."""
    spans = [step * (cells - 1) + 1 for step, cells in zip(geometry.dilations, kernel, strict=True)]
    pads = [sum(geometry.pads[axis::2]) for axis in (0, 1)]
    rows, columns = (
        sum(facts) for facts in zip(spans, pads, geometry.strides, strict=True)
    )  # an inner position for each remainder of the stride
    return rows, columns


def _taps(geometry: ConvGeometry, axis: int, size: Pair, kernel: Pair, lengths: Pair) -> Int64Array:
    stride, pad = geometry.strides[axis], geometry.pads[axis]
    position = np.arange(lengths[axis])[:, None]
    offset = np.arange(kernel[axis]) * geometry.dilations[axis]
    if isinstance(geometry, ConvTransposeGeometry):
        cell, apart = np.divmod(position + pad - offset, stride)
        met = apart == 0
    else:
        cell = position * stride - pad + offset
        met = np.ones_like(cell, bool)
    return np.where(met & (cell >= 0) & (cell < size[axis]), cell, OUTSIDE)
