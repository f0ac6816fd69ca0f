"""Integer sums of transposed convolutions."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.geometry import ConvTransposeGeometry, Pair
from deployq.arithmetic.rounding import Int64Array
from deployq.qparams import IntArray


def conv_transpose_accumulate(
    x: IntArray,
    x_zero_point: int,
    w: IntArray,
    w_zero_point: int | IntArray,
    bias: IntArray | None,
    geometry: ConvTransposeGeometry,
) -> Int64Array:
    """Accumulators of a transposed convolution (ONNX ConvTranspose, in integers).

    ``acc[n,o,y sh + i dh - top,x sw + j dw - left] += sum_c (x - zx)[n,c,y,x] (w - zw)[o,c,i,j]``
    for every input cell and window cell, on top of ``bias[o]``.

    Args:
        x: (N, C, H, W) codes.
        w: (O, C / groups, kh, kw) codes: outputs first, see ``arithmetic.weight_layout``.
        w_zero_point: one, or (O,).
        bias: (O,) codes of scale s_x * s_w, or none.

    Returns:
        (N, O, H', W') int64, exact while the true sums fit 64 bits.

    Raises:
        InputError: channels and groups do not fit, or pads leave nothing of the output.
    """
    geometry.check_channels(x.shape[1], w.shape)
    size, kernel = (x.shape[2], x.shape[3]), (w.shape[2], w.shape[3])
    geometry.output_size(size, kernel)
    cells = x.astype(np.int64) - x_zero_point
    weights = w.astype(np.int64) - np.reshape(w_zero_point, (-1, 1, 1, 1))
    whole = np.zeros((len(x), len(w), *geometry.whole_size(size, kernel)), np.int64)
    grouped = np.split(cells, geometry.groups, axis=1), np.split(weights, geometry.groups)
    targets = np.split(whole, geometry.groups, axis=1)  # views
    for part, window, target in zip(*grouped, targets, strict=True):
        for i, j in np.ndindex(*kernel):
            rows, columns = (_landing(axis, k, size, geometry) for axis, k in enumerate((i, j)))
            target[:, :, rows, columns] += np.einsum("nchw,oc->nohw", part, window[:, :, i, j])
    acc = _with_margins(whole, geometry)
    return acc if bias is None else acc + bias.astype(np.int64).reshape(1, -1, 1, 1)


def _landing(axis: int, cell: int, size: Pair, geometry: ConvTransposeGeometry) -> slice:
    """Where one window cell of every input cell lands along an axis of the whole."""
    start, stride = cell * geometry.dilations[axis], geometry.strides[axis]
    return slice(start, start + (size[axis] - 1) * stride + 1, stride)


def _with_margins(whole: Int64Array, geometry: ConvTransposeGeometry) -> Int64Array:
    top, left, bottom, right = geometry.margins()
    added = [(max(begin, 0), max(end, 0)) for begin, end in ((top, bottom), (left, right))]
    padded = np.pad(whole, ((0, 0), (0, 0), *added))
    height, width = padded.shape[2:]
    rows = slice(max(-top, 0), height - max(-bottom, 0))
    return padded[:, :, rows, max(-left, 0) : width - max(-right, 0)]
