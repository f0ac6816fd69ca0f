"""Codes that are added to a layer's sums before they are rounded: a shortcut that joins its layer.

    y = round(acc * s_x * s_w / s_y + (q - z) * s_q / s_y)

One rounding instead of two: what the layer computes has no codes of its own.
"""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.requant_words import ZeroPointPlace
from deployq.errors import UnsupportedError
from deployq.qparams import QParams

JOINING_KINDS = (Kind.EXACT, Kind.FLOAT32)
"""Kinds that add reals between multiplication and rounding. What a chip with a fixed multiplier
would do with two scales is its own affair, and no profile has stated it.
"""


def addend_ratio(addend: QParams, out: QParams, form: Form) -> np.float64 | np.float32:
    """``s_q / s_y``, float64 of exact arithmetic and float32 of float32.

    Raises:
        UnsupportedError: the form has no place between multiplication and rounding.
        QuantizationError: a scale for each channel.
    """
    if form.kind not in JOINING_KINDS or form.zero_point is ZeroPointPlace.ACCUMULATOR:
        raise UnsupportedError(
            "sum",
            "a sum that joins its layer is added before the rounding",
            found=f"kind {form.kind}, zero_point {form.zero_point}",
            allowed=" or ".join(JOINING_KINDS),
            next_step='state graph.residual = "q_both"',
        )
    (s_q, _), (s_y, _) = scale_and_zero(addend, "addend"), scale_and_zero(out, "output")
    if form.kind is Kind.EXACT:
        return np.float64(s_q) / np.float64(s_y)
    return np.float32(s_q / s_y)
