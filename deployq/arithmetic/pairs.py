"""A Softmax over rows of two as HTP computes it: a logistic function of the codes' difference.

    y_1 = floor(255 / (1 + exp((x_0 - x_1) s_x)) + 1/2), y_0 = 255 - y_1

in steps of 1/255, which a grid of 1/256 with zero point 0 takes as they are. Source: trials on
Qualcomm's x86 emulator (onnxruntime-qnn 2.7.0), all 511 differences at 14 scales from 0.002 to
0.3, none differs. Rows of more elements have other kernels there, whose codes nobody knows; they
count as in float.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.rounding import Int64Array
from deployq.errors import UnsupportedError
from deployq.qparams import QParams

PAIR = 2
LEVELS = 255
GRID = (np.float32(1 / 256), 0)
BYTE = 8


def second_shares(qx: QParams) -> Int64Array:
    """(511,) codes of a row's second element, by ``x_1 - x_0 + 255``."""
    apart = np.arange(-LEVELS, LEVELS + 1) * np.float64(scale_and_zero(qx, "Softmax")[0])
    with np.errstate(over="ignore"):  # an infinite exponential leaves nothing
        shares = LEVELS / (1 + np.exp(-apart))
    return np.floor(shares + 0.5).astype(np.int64)


def is_pair(shape: Sequence[int]) -> bool:
    """True of rows of two elements."""
    return shape[-1] == PAIR


def check_grids(qx: QParams, out: QParams) -> None:
    """Raises UnsupportedError for other codes and grids than those above."""
    for q in (qx, out):
        if q.qtype.bits > BYTE or q.qtype.signed:
            raise _refused("unsigned bytes", str(q.qtype), "u8")
    if scale_and_zero(out, "Softmax") != GRID:
        scale, zero = scale_and_zero(out, "Softmax")
        found = f"scale {scale:g}, zero point {zero}"
        raise _refused("an output in steps of 1/256", found, "scale 0.00390625, zero point 0")


def _refused(rule: str, found: str, allowed: str) -> UnsupportedError:
    return UnsupportedError(
        "Softmax",
        f"the target's Softmax is known for {rule}",
        found=found,
        allowed=allowed,
        next_step="leave this Softmax to what reads the network's output",
    )
