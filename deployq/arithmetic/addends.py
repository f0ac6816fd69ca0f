"""Codes that are added to a layer's sums before they are rounded: a shortcut that joins its layer.

    y = round(acc * s_x * s_w / s_y + (q - z) * s_q / s_y)

One rounding instead of two: what the layer computes has no codes of its own.
"""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.errors import UnsupportedError
from deployq.qparams import QParams

JOINING_KINDS = (Kind.EXACT, Kind.FLOAT32)
"""Kinds that add reals between multiplication and rounding. What a chip with a fixed multiplier
would do with two scales is its own affair, and no profile has stated it.
"""


def joins(form: Form) -> bool:
    """Whether an addend has a place in a form."""
    return form.kind in JOINING_KINDS and not form.folds_zero


def addend_ratio(addend: QParams, out: QParams, form: Form) -> np.float64 | np.float32:
    """``s_q / s_y``, float64 of exact arithmetic and float32 of float32.

    Raises:
        UnsupportedError: a form for which nobody has stated this step.
        QuantizationError: a scale for each channel.
    """
    if not joins(form):
        raise UnsupportedError(
            "sum",
            "a sum that joins its layer is added before the rounding, in real arithmetic",
            found=f"kind {form.kind}, zero_point {form.zero_point}",
            allowed=f"{' or '.join(JOINING_KINDS)}, the zero point behind the rounding",
            next_step="export the network for this target, with codes on both branches",
        )
    (s_q, _), (s_y, _) = scale_and_zero(addend, "addend"), scale_and_zero(out, "output")
    if form.kind is Kind.EXACT:
        return np.float64(s_q) / np.float64(s_y)
    return np.float32(s_q / s_y)
