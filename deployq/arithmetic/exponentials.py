"""The table of exponentials of a Softmax: a few numbers a layer, which oracle and kernels share.

Entry d of the table stands for codes d below the largest of their row.
"""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.float32 import Float32Array
from deployq.qparams import QParams

BYTE = 8
RESERVE = 5.0
"""ONNX Runtime stays ``exp(5)`` below the overflow of a sum."""


def scaled_exponentials(qx: QParams, length: int) -> Float32Array:
    """``exp((B - d) s_x)`` in float64, rounded to float32, for rows of ``length`` elements.

    ``B s_x = max(0, ln(max float32 / length) - 5)`` uses the range of float32
    (ONNX Runtime, QLinearSoftmax).
    """
    scale = np.float64(scale_and_zero(qx, "Softmax")[0])
    room = max(0.0, np.log(np.finfo(np.float32).max / length) - RESERVE) / scale
    table: Float32Array = np.exp((room - np.arange(1 << BYTE)) * scale).astype(np.float32)
    return table


def whole_inverse(out: QParams) -> np.float32:
    """``floor(1 / s_y)``: what ONNX Runtime multiplies by."""
    return np.float32(np.floor(np.float32(1.0) / scale_and_zero(out, "Softmax")[0]))


def is_table(qx: QParams, out: QParams) -> bool:
    """True where input and output have up to 8 bits: the table has no more."""
    return max(qx.qtype.bits, out.qtype.bits) <= BYTE
