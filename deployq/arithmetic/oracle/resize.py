"""Nearest resizing: codes repeated or dropped, no arithmetic on them."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.geometry import Pair
from deployq.qparams import IntArray


def nearest_index(length: int, size: int) -> IntArray:
    """Input cell of each of ``size`` output cells: ``floor(i length / size)`` in integers."""
    return np.arange(size, dtype=np.int64) * length // size


def nearest_resize(x: IntArray, size: Pair) -> IntArray:
    """ONNX Resize: mode nearest, coordinates asymmetric, nearest_mode floor.

    Args:
        x: (N, C, H, W) codes.
        size: rows and columns of the output.
    """
    rows, columns = nearest_index(x.shape[2], size[0]), nearest_index(x.shape[3], size[1])
    resized: IntArray = x[:, :, rows[:, None], columns]
    return resized
