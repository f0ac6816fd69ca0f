"""The table of a Softmax in integers."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form
from deployq.arithmetic.exponentials import BYTE, is_table, scaled_exponentials, whole_inverse
from deployq.arithmetic.multiplier import FixedMultiplier
from deployq.arithmetic.requant_words import Softmax
from deployq.errors import UnsupportedError
from deployq.qparams import QParams
from deployq_exporters.golden.scaling import FLOAT32, FLOAT64, binary


def no_rows(operator: str, word: str) -> UnsupportedError:
    """The refusal of rows that are divided in integers."""
    return UnsupportedError(
        operator,
        "the program in C computes what a row is divided by in binary floats",
        found=word,
        allowed="softmax = real, scaled_table",
        next_step="leave this operator out, or simulate the file: deployq simulate --sums",
    )


def exponentials(qx: QParams, out: QParams, form: Form, length: int) -> tuple[int, FixedMultiplier]:
    """Bits of precision, and the numbers: exponentials by distance from the largest code, and
    last ``floor(1 / s_y)`` with 24 bits, ``s_y`` with 53.

    Args:
        length: elements of a row.

    Raises:
        UnsupportedError: codes of more than 8 bits: the table would have an entry for each; or
            shares by an integer division or of pairs, which the program in C does not compute.
    """
    if form.softmax in (Softmax.INTEGER, Softmax.PAIRS):
        raise no_rows("Softmax", f"softmax = {form.softmax}")
    if qx.qtype.bits > BYTE:
        raise UnsupportedError(
            "Softmax",
            "a Softmax is written in integers by a table over codes of up to 8 bits",
            found=str(qx.qtype),
            allowed="u8, s8",
            next_step="quantize the input of this operator to 8 bits",
        )
    if form.softmax is Softmax.SCALED_TABLE and is_table(qx, out):
        table = scaled_exponentials(qx, length).astype(np.float64)
        return FLOAT32, binary(np.append(table, np.float64(whole_inverse(out))))
    scale = np.float64(scale_and_zero(qx, "Softmax")[0])
    powers = np.exp(-np.arange(1 << BYTE) * scale)
    return FLOAT64, binary(np.append(powers, np.float64(scale_and_zero(out, "Softmax")[0])))
