"""The multiplier has another width, or its scales are joined in another precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.precisions import LAYER_PRECISIONS
from deployq.arithmetic.requant_words import Mantissa, ScalePrecision
from deployq.divergence.facts import Cause
from deployq.divergence.substitutions.case import Case, Change, Key
from deployq.divergence.substitutions.kinds import keeps_zero, to_kind

WIDTHS = range(2, 33)
"""Bits of a mantissa that are tried."""
MANTISSA = "a mantissa"
THRESHOLDS: Key = (Cause.MULTIPLIER, "thresholds", None)
"""The change to real numbers that keeps the rounding."""


def changes(case: Case) -> Iterator[Change]:
    """Mantissas of every width, float32, real numbers and thresholds; the rounding stays."""
    layer, form = case.layer, case.layer.form
    for detail, other in _words(form):
        yield Change(Cause.MULTIPLIER, detail, layer.with_form(other).codes)
    if not keeps_zero(layer):
        return
    fixed = replace(form, kind=Kind.FIXED)
    if form.kind is not Kind.FIXED:  # a float32 product is none of the integer words'
        fixed = replace(fixed, scale_precision=ScalePrecision.F64)
    for bits in WIDTHS:
        other = replace(fixed, multiplier_bits=bits, mantissa=Mantissa.NEAREST)
        if other != form:
            yield Change(Cause.MULTIPLIER, MANTISSA, layer.with_form(other).codes, bits)
    yield from _reals(case)


def _reals(case: Case) -> Iterator[Change]:
    """No integer mantissa; float32 and real products round half to even."""
    layer, form = case.layer, case.layer.form
    if case.kernels is not None:
        return
    if form.kind is not Kind.THRESHOLDS:
        counted = layer.with_form(Form(Kind.THRESHOLDS, form.rounding))
        yield Change(*THRESHOLDS[:2], counted.codes)
    if form.rounding is not Rounding.HALF_EVEN:
        return
    if form.kind is not Kind.FLOAT32:
        in_float32 = to_kind(layer, Kind.FLOAT32)
        yield Change(Cause.MULTIPLIER, "float32", in_float32.with_zero_after)
    if form.kind is not Kind.EXACT:
        yield Change(Cause.MULTIPLIER, "real numbers", to_kind(layer, Kind.EXACT).codes)


def _words(form: Form) -> Iterator[tuple[str, Form]]:
    if form.kind is Kind.FIXED:
        shared = "a shift for each channel" if form.shared_shift else "one shift for all channels"
        nearest = replace(form, mantissa=Mantissa.NEAREST)
        yield shared, replace(nearest, shared_shift=not form.shared_shift)
    if form.kind in (Kind.FIXED, Kind.FLOAT32):
        for precision in LAYER_PRECISIONS:
            if precision is not form.precision:
                yield f"scales joined in {precision}", replace(form, scale_precision=precision)
