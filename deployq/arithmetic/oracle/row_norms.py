"""LayerNormalization and RMSNormalization over the last axis of codes."""

from __future__ import annotations

import math

import numpy as np

from deployq.affine import quantize
from deployq.arithmetic.codes import Bounds, scale_and_zero
from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.oracle.codes import saturate
from deployq.arithmetic.oracle.requantize import requantize
from deployq.arithmetic.requant_words import Normalization
from deployq.arithmetic.rounding import Int64Array, shift_right
from deployq.arithmetic.row_norms import RowNorm, epsilon_steps, row_integers
from deployq.arithmetic.row_shares import DIVIDEND_BITS, share_shift
from deployq.qparams import IntArray, QParams


def normalize(
    x: IntArray,
    qx: QParams,
    out: QParams,
    form: Form,
    norm: RowNorm,
    *,
    bounds: Bounds | None = None,
) -> IntArray:
    """Codes of the normalized rows, (..., C).

    ``form.normalization`` says how: real, ``d / sqrt((sum(d**2) + c eps / s_x**2) / C)`` of exact
    sums in float64, times gamma, plus beta, rounded to float32, then law 1; or in integers, as
    ``arithmetic.row_norms`` has it (after I-BERT, arXiv 2101.01321, section 3.5, and I-ViT, arXiv
    2207.01405, section 4.3). There the last step is the form's own requantization with
    ``sqrt(C) |gamma_i| / s_y`` for each channel, beta added between multiplication and shift.

    Args:
        x: input codes.
        qx, out: parameters, per tensor.

    Raises:
        UnsupportedError: in integers, a form of another kind than fixed, or of a rounding of two
            steps; rows too long for their width.
        QuantizationError: numbers that are not finite, or a multiplier that the form cannot
            express.
        AccumulatorOverflowError: a bias after the scale leaves 62 bits.
    """
    if form.normalization is Normalization.INTEGER:
        return pick(norm.op_type, {Kind.FIXED: _integer}, form)(x, qx, out, form, norm, bounds)
    row_integers(norm, qx, out)  # refuses what the sums below do not hold
    parts, length = _centred(x, qx, norm), x.shape[-1]
    squares = (parts**2).sum(-1, keepdims=True)
    values = parts / np.sqrt((squares + epsilon_steps(norm, qx)) / length)
    values = values * norm.scale.astype(np.float64)
    values = values if norm.bias is None else values + norm.bias.astype(np.float64)
    return saturate(quantize(values.astype(np.float32), out).astype(np.int64), out, bounds)


def _integer(
    x: IntArray, qx: QParams, out: QParams, form: Form, norm: RowNorm, bounds: Bounds | None
) -> IntArray:
    known = row_integers(norm, qx, out)
    parts = _centred(x, qx, norm)
    squares = ((parts**2).sum(-1, keepdims=True) << 2 * known.lift) + known.epsilon
    roots = [math.isqrt(int(value)) for value in squares.ravel()]
    quotients = (1 << DIVIDEND_BITS) // np.reshape(np.array(roots, np.int64), squares.shape)
    shares = shift_right(parts * quotients, share_shift(known.lift), Rounding.HALF_UP)
    return requantize(
        shares * known.signs, known.step, known.scales, out, form,
        channel_axis=-1, bounds=bounds, late=known.bias,
    )  # fmt: skip


def _centred(x: IntArray, qx: QParams, norm: RowNorm) -> Int64Array:
    """Distances from the mean, times the length of a row, or from zero: exact."""
    codes: Int64Array = x.astype(np.int64)
    if norm.centred:
        return np.asarray(codes * x.shape[-1] - codes.sum(-1, keepdims=True))
    return np.asarray(codes - scale_and_zero(qx, norm.op_type)[1])
