"""Integer sums of convolutions and matrix products, zero points removed and bias added."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.rounding import Int64Array
from deployq.qparams import IntArray


def conv_accumulate(
    x: IntArray,
    x_zero_point: int,
    w: IntArray,
    w_zero_point: int | IntArray,
    bias: IntArray | None,
    geometry: ConvGeometry,
) -> Int64Array:
    """Accumulators of a convolution (ONNX ConvInteger with a bias).

    ``acc[n,o,y,x] = bias[o] + sum_{c,i,j} (x - zx)[n,c,y sh + i dh,x sw + j dw] (w - zw)[o,c,i,j]``

    Args:
        x: (N, C, H, W) codes; a padding cell holds the zero point and adds nothing.
        w: (O, C / groups, kh, kw) codes.
        w_zero_point: one, or (O,).
        bias: (O,) codes of scale s_x * s_w, or none.

    Returns:
        (N, O, H', W') int64, exact while the true sums fit 64 bits.

    Raises:
        InputError: channels and groups do not fit, or the window exceeds the padded map.
    """
    geometry.check_channels(x.shape[1], w.shape)
    top, left, bottom, right = geometry.pads
    padding = ((0, 0), (0, 0), (top, bottom), (left, right))
    cells = np.pad(x.astype(np.int64) - x_zero_point, padding)
    weights = w.astype(np.int64) - np.reshape(w_zero_point, (-1, 1, 1, 1))
    rows, columns = geometry.output_size((x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]))
    acc = np.zeros((x.shape[0], w.shape[0], rows, columns), np.int64)
    grouped = np.split(cells, geometry.groups, axis=1), np.split(weights, geometry.groups)
    for part, kernel, target in zip(*grouped, np.split(acc, geometry.groups, axis=1), strict=True):
        for i, j in np.ndindex(w.shape[2], w.shape[3]):
            window = part[:, :, i * geometry.dilations[0] :, j * geometry.dilations[1] :]
            window = window[:, :, :: geometry.strides[0], :: geometry.strides[1]]
            window = window[:, :, :rows, :columns]
            target += np.einsum("nchw,oc->nohw", window, kernel[:, :, i, j])
    return acc if bias is None else acc + bias.astype(np.int64).reshape(1, -1, 1, 1)


def gemm_accumulate(
    x: IntArray,
    x_zero_point: int,
    w: IntArray,
    w_zero_point: int | IntArray,
    bias: IntArray | None,
) -> Int64Array:
    """Accumulators of a matrix product with a constant: ``(x - zx) @ (w - zw) + bias``.

    Args:
        x: (..., K) codes.
        w: (K, N) codes.
        w_zero_point: one, or (N,).
        bias: (N,) codes, or none.

    Returns:
        (..., N) int64.
    """
    weights = w.astype(np.int64) - np.asarray(w_zero_point, np.int64)
    acc = (x.astype(np.int64) - x_zero_point) @ weights
    return acc if bias is None else acc + bias.astype(np.int64)


def matmul_accumulate(a: IntArray, a_zero_point: int, b: IntArray, b_zero_point: int) -> Int64Array:
    """Accumulators of two activations (ONNX MatMulInteger): ``(a - za) @ (b - zb)``, int64.

    Args:
        a: (..., M, K) codes.
        b: (..., K, N) codes; leading axes broadcast as in NumPy.
    """
    left, right = a.astype(np.int64) - a_zero_point, b.astype(np.int64) - b_zero_point
    return np.asarray(left @ right)
