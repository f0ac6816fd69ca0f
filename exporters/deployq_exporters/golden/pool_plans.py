"""The means of average pools in integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.geometry import PoolGeometry
from deployq.arithmetic.requant_words import Averaging, ZeroPointPlace
from deployq.arithmetic.rounding import Int64Array
from deployq.arithmetic.scales import (
    float64_scales,
    mean_constant,
    mean_multiplier,
    mean_real,
    moved_zero,
)
from deployq.qparams import QParams
from deployq_exporters.golden.scaling import (
    Scaling,
    binary,
    of_multiplier,
    of_quotient,
    of_ratio,
    of_real,
)


def mean_counts(geometry: PoolGeometry | None, size: tuple[int, int]) -> Int64Array:
    """What the windows over a map of ``size`` divide by, each count once."""
    if geometry is None:
        return np.array([size[0] * size[1]], np.int64)
    places = np.ndindex(*geometry.output_size(size))
    counts = {geometry.divisor(size, row, column) for row, column in places}
    return np.array(sorted(counts), np.int64)


def mean_scaling(qx: QParams, out: QParams, counts: Int64Array, form: Form) -> tuple[Scaling, bool]:
    """From the sum of a window to its mean, one multiplier a count; true where zeros stay in it."""
    zero = scale_and_zero(out, "output")[1]
    if form.kind is Kind.FLOAT32:
        return _in_float32(qx, out, counts, form)
    if form.kind is Kind.EXACT:
        sx, sy = float64_scales(qx, out)
        return of_ratio(np.full(len(counts), sx), counts * sy, form).with_offset(zero), False
    if form.averaging is Averaging.RAW_CODES:
        return of_quotient(counts), True
    scaling = of_multiplier(mean_multiplier(qx, out, counts, form), form)
    if form.zero_point is ZeroPointPlace.APART:
        return scaling.with_offset(zero - moved_zero(qx, out, form)), True
    return scaling.with_offset(zero), False


def _in_float32(qx: QParams, out: QParams, counts: Int64Array, form: Form) -> tuple[Scaling, bool]:
    real = mean_real(qx, out, counts, form).astype(np.float32)
    scaling, zero = of_real(real, form), scale_and_zero(out, "output")[1]
    if form.zero_point is ZeroPointPlace.APART:
        return replace(scaling, inner=binary(mean_constant(qx, out, counts, real))), True
    if form.zero_point is ZeroPointPlace.BEFORE_ROUNDING:
        return replace(scaling, inner=binary(np.full(len(counts), zero))), False
    return scaling.with_offset(zero), False
