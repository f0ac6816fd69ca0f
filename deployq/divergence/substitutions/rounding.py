"""Ties, and all else between two integers, go another way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.multiplier import Q31
from deployq.arithmetic.requant_words import ScalePrecision, ZeroPointPlace
from deployq.divergence.facts import Cause
from deployq.divergence.substitutions.case import Case, Change
from deployq.divergence.substitutions.kinds import keeps_zero, to_float32

FLOAT32_BITS = 24
"""Of a float32 mantissa."""


def changes(case: Case) -> Iterator[Change]:
    """Every other rounding mode, and the words that decide ties."""
    layer, form = case.layer, case.layer.form
    after = "zero point after rounding"
    yield Change(Cause.ROUNDING, after, layer.with_zero_after)
    for detail, other in (*_modes(case), *_ties(form)):
        yield Change(Cause.ROUNDING, detail, layer.with_form(other).codes)
    in_float32 = to_float32(layer)
    if form.kind is Kind.EXACT and not keeps_zero(in_float32):
        yield Change(Cause.ROUNDING, "zero point before rounding, in float32", in_float32.codes)
    if form.kind is not Kind.FIXED:
        return
    if form.multiplier_bits >= FLOAT32_BITS and form.rounding is not Rounding.HALF_EVEN:
        detail = f"{Rounding.HALF_EVEN} in float32 for {form.rounding}"
        yield Change(Cause.ROUNDING, detail, in_float32.with_zero_after)


def _modes(case: Case) -> Iterator[tuple[str, Form]]:
    form = case.layer.form
    integer = form.kind in (Kind.FIXED, Kind.SHIFT)
    if not integer and not keeps_zero(case.layer):
        return
    for mode in Rounding:
        detail = f"{mode} for {form.rounding}"
        if mode is form.rounding:
            continue
        if integer:
            yield detail, replace(form, rounding=mode)
        else:
            yield from _integer_modes(form, mode, detail)


def _integer_modes(form: Form, mode: Rounding, detail: str) -> Iterator[tuple[str, Form]]:
    """Only an integer product can be rounded in other ways; its mantissa is no shorter."""
    fixed = replace(form, kind=Kind.FIXED, rounding=mode, multiplier_bits=Q31)
    yield f"{detail}, on a 31-bit mantissa", replace(fixed, scale_precision=ScalePrecision.F64)
    if form.kind is Kind.FLOAT32:
        yield f"{detail}, on the float32 multiplier", replace(fixed, scale_precision=form.precision)


def _ties(form: Form) -> Iterator[tuple[str, Form]]:
    """Where the zero point is added, and how far the kernel's codes lie above ours."""
    for place in ZeroPointPlace:
        if place is not form.zero_point:
            yield f"zero point in place {place}", replace(form, zero_point=place)
    codes = "signed" if form.s8_as_u8 else "unsigned"
    yield f"ties of {codes} codes", replace(form, s8_as_u8=not form.s8_as_u8)
