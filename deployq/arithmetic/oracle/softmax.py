"""Softmax over the last axis of codes."""

from __future__ import annotations

import numpy as np

from deployq.affine import quantize
from deployq.arithmetic.codes import Bounds, scale_and_zero
from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.exponentials import (
    integer_exponentials,
    is_table,
    scaled_exponentials,
    whole_inverse,
)
from deployq.arithmetic.oracle.codes import in_order_sum, nearest, saturate
from deployq.arithmetic.oracle.litert_softmax import litert_softmax
from deployq.arithmetic.oracle.requantize import requantize
from deployq.arithmetic.pairs import LEVELS, check_grids, is_pair, second_shares
from deployq.arithmetic.requant_words import LITERT_SHARES, Softmax
from deployq.arithmetic.rounding import Int64Array, shift_right
from deployq.arithmetic.row_shares import DIVIDEND_BITS, SHARE_STEP, share_shift
from deployq.qparams import IntArray, QParams


def softmax(
    x: IntArray, qx: QParams, out: QParams, form: Form, *, bounds: Bounds | None = None
) -> IntArray:
    """Codes of ``exp(x) / sum(exp(x))`` along the last axis, (..., D).

    ``form.softmax`` says how: real, in float64 and rounded to float32, then law 1; or as ONNX
    Runtime's QLinearSoftmax, with a table of float32 exponentials and ``floor(1 / s_y)`` for the
    output scale; that is for codes of up to 8 bits, wider ones are real there too. Sums are
    taken in the order of the elements.

    Or in integers, after I-BERT (arXiv 2101.01321, Algorithm 3) with a table for its polynomial::

        e_i = table[max(x) - x_i]                           16 bits, see ``integer_exponentials``
        n_i = (e_i * floor(2**51 / sum(e)) + 2**30) >> 31   steps of 2**-20, at most 2**20
        y_i = saturate(requantize(n_i * 2**-20 / s_y) + z_y)

    The last step is the form's own multiplier, shift and rounding. Sums have 31 bits, products 51.
    LiteRT's two ways are in :func:`~deployq.arithmetic.oracle.litert_softmax.litert_softmax`.
    Rows of two may have a function of their own (see ``pairs``); where that is all that is known
    of a target, longer rows are real.

    Args:
        x: input codes.
        qx, out: parameters, per tensor.

    Raises:
        QuantizationError: parameters that are not per tensor.
        UnsupportedError: in integers, wide codes or long rows (see ``integer_exponentials``), or
            a form that is neither fixed nor shift; LiteRT's ways and pairs, other grids than
            theirs.
        AccumulatorOverflowError: a row's exponentials have a sum that ``gemmlowp`` does not hold.
    """
    below = (x.max(-1, keepdims=True).astype(np.int64) - x).astype(np.int64)
    scale_and_zero(out, "Softmax")
    if form.softmax in LITERT_SHARES:
        return litert_softmax(below, qx, out, form.softmax, bounds)
    if form.softmax is Softmax.INTEGER:
        return pick("Softmax", _INTEGER, form)(below, qx, out, form, bounds)
    if form.softmax is Softmax.PAIRS and is_pair(x.shape):
        return saturate(_pairs(x, qx, out), out, bounds)
    if form.softmax is not Softmax.SCALED_TABLE or not is_table(qx, out):
        powers = np.exp(-below * np.float64(scale_and_zero(qx, "Softmax")[0]))
        shares = powers / in_order_sum(powers)
        codes: Int64Array = quantize(shares.astype(np.float32), out).astype(np.int64)
        return saturate(codes, out, bounds)
    table = scaled_exponentials(qx, x.shape[-1])[below]
    values = nearest(table * whole_inverse(out) / in_order_sum(table))
    return saturate(values + scale_and_zero(out, "Softmax")[1], out, bounds)


def _pairs(x: IntArray, qx: QParams, out: QParams) -> Int64Array:
    check_grids(qx, out)
    first, second = x[..., 0].astype(np.int64), x[..., 1].astype(np.int64)
    share = second_shares(qx)[second - first + LEVELS]
    return np.stack((LEVELS - share, share), -1)


def _integer(
    below: Int64Array, qx: QParams, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    parts = integer_exponentials(qx, below.shape[-1])[below]
    quotient = (1 << DIVIDEND_BITS) // parts.sum(-1, keepdims=True)
    shares = shift_right(parts * quotient, share_shift(0), Rounding.HALF_UP)
    return requantize(shares, SHARE_STEP, np.float32(1), out, form, channel_axis=-1, bounds=bounds)


_INTEGER = {Kind.FIXED: _integer, Kind.SHIFT: _integer}
