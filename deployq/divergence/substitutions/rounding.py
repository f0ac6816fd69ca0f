"""Ties, and all else between two integers, go another way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.multiplier import Q31
from deployq.arithmetic.requant_words import ScalePrecision, ZeroPointPlace
from deployq.divergence.facts import Cause
from deployq.divergence.layer import Layer
from deployq.divergence.substitutions.case import Case, Change
from deployq.divergence.substitutions.kinds import keeps_zero, to_kind
from deployq.divergence.substitutions.multiplier import MANTISSA, THRESHOLDS

FLOAT32_BITS = 24
"""Of a float32 mantissa."""
ANY_MODE = (Kind.FIXED, Kind.SHIFT, Kind.THRESHOLDS)
"""Kinds that round in more modes than one."""


def changes(case: Case) -> Iterator[Change]:
    """Every other rounding mode, and the words that decide ties."""
    layer, form = case.layer, case.layer.form
    yield Change(Cause.ROUNDING, "zero point after rounding", layer.with_zero_after)
    yield from _own_modes(layer) if form.kind in ANY_MODE else _other_modes(layer)
    for detail, other in _ties(form):
        yield Change(Cause.ROUNDING, detail, layer.with_form(other).codes)
    in_float32 = to_kind(layer, Kind.FLOAT32)
    if form.kind is Kind.EXACT and not keeps_zero(in_float32):
        yield Change(Cause.ROUNDING, "zero point before rounding, in float32", in_float32.codes)
    fine = form.kind is Kind.FIXED and form.multiplier_bits >= FLOAT32_BITS
    if fine and form.rounding is not Rounding.HALF_EVEN:
        detail = f"{Rounding.HALF_EVEN} in float32 for {form.rounding}"
        yield Change(Cause.ROUNDING, detail, in_float32.with_zero_after)


def _own_modes(layer: Layer) -> Iterator[Change]:
    """Of a form that has others."""
    for mode, detail in _modes(layer.form):
        other = layer.with_form(replace(layer.form, rounding=mode))
        yield Change(Cause.ROUNDING, detail, other.codes)


def _other_modes(layer: Layer) -> Iterator[Change]:
    """Of another form: an integer product can be rounded so, whose mantissa is no shorter, and
    thresholds can.

    Where these alone give every code, the rounding is no cause.
    """
    form = layer.form
    if not keeps_zero(layer):
        return
    for mode, detail in _modes(form):
        fixed = replace(form, kind=Kind.FIXED, rounding=mode, multiplier_bits=Q31)
        long = layer.with_form(replace(fixed, scale_precision=ScalePrecision.F64))
        alone = (Cause.MULTIPLIER, MANTISSA, Q31)
        yield Change(
            Cause.ROUNDING, f"{detail}, on a {Q31}-bit mantissa", long.codes, contains=alone
        )
        counted = layer.with_form(Form(Kind.THRESHOLDS, mode))
        yield Change(Cause.ROUNDING, f"{detail}, by thresholds", counted.codes, contains=THRESHOLDS)
        if form.kind is Kind.FLOAT32:
            same = layer.with_form(replace(fixed, scale_precision=form.precision))
            yield Change(Cause.ROUNDING, f"{detail}, on the float32 multiplier", same.codes)


def _modes(form: Form) -> Iterator[tuple[Rounding, str]]:
    return ((mode, f"{mode} for {form.rounding}") for mode in Rounding if mode != form.rounding)


def _ties(form: Form) -> Iterator[tuple[str, Form]]:
    """Where the zero point is added, and how far the kernel's codes lie above ours."""
    for place in ZeroPointPlace:
        if place is not form.zero_point:
            yield f"zero point in place {place}", replace(form, zero_point=place)
    codes = "signed" if form.s8_as_u8 else "unsigned"
    yield f"ties of {codes} codes", replace(form, s8_as_u8=not form.s8_as_u8)
