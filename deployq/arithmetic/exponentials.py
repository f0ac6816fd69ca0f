"""The table of exponentials of a Softmax: a few numbers a layer, which oracle and kernels share.

Entry d of the table stands for codes d below the largest of their row.
"""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.float32 import Float32Array
from deployq.arithmetic.rounding import Int64Array, round_real
from deployq.errors import UnsupportedError
from deployq.qparams import QParams

BYTE = 8
RESERVE = 5.0
"""ONNX Runtime stays ``exp(5)`` below the overflow of a sum."""
EXPONENTIAL_ONE = (1 << 16) - 1
"""The integer exponential of 0."""
LONGEST = 1 << 15
"""Elements whose integer exponentials have a sum of 31 bits."""


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


def integer_exponentials(qx: QParams, length: int) -> Int64Array:
    """``round((2**16 - 1) exp(-d s_x))`` for every d between two codes; 16 bits, unsigned.

    Their sum over a row of ``length`` elements is at least the first entry and below 2**31.

    Raises:
        UnsupportedError: codes of more than 8 bits, or rows of more than 32768 elements.
    """
    if qx.qtype.bits > BYTE:
        raise UnsupportedError(
            "Softmax",
            "an integer Softmax has a table over codes of up to 8 bits",
            found=str(qx.qtype),
            allowed="u8, s8 and narrower",
            next_step="quantize the input of this operator to 8 bits or fewer",
        )
    if length > LONGEST:
        raise UnsupportedError(
            "Softmax",
            "the 16-bit exponentials of a row have a sum of 31 bits",
            found=f"{length} elements",
            allowed=f"up to {LONGEST}",
            next_step="take the Softmax over a shorter axis",
        )
    scale = np.float64(scale_and_zero(qx, "Softmax")[0])
    powers = EXPONENTIAL_ONE * np.exp(-np.arange(qx.qtype.qmax - qx.qtype.qmin + 1) * scale)
    return round_real(powers, Rounding.HALF_EVEN)
