"""Sums leave their accumulator in another way, or codes their type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial

from torch import Tensor

from deployq.arithmetic.contract import Accumulator, Overflow
from deployq.divergence.facts import Cause
from deployq.divergence.layer import Layer
from deployq.divergence.substitutions.case import Case, Change

WIDTHS = range(8, 49)
"""Bits of an accumulator that are tried."""
UNLIMITED = Accumulator(64)
WORDS = {
    Overflow.WRAP: "an accumulator that wraps",
    Overflow.SATURATE: "an accumulator that saturates",
}


def changes(case: Case) -> Iterator[Change]:
    """Accumulators of every width that wrap or saturate, one without limit, codes that wrap."""
    layer = case.layer
    yield Change(Cause.SATURATION, "codes that wrap", partial(_wrapped, layer))
    if layer.sums is None:
        return
    acc = layer.with_bias(layer.sums)
    low, high = int(acc.min()), int(acc.max())
    unlimited = cache(_with(layer, UNLIMITED).codes)
    yield Change(Cause.SATURATION, "an accumulator without limit", unlimited)
    for overflow, detail in WORDS.items():
        for bits in WIDTHS:
            other = Accumulator(bits, overflow)
            fits = other.low <= low and high <= other.high
            codes = unlimited if fits else _with(layer, other).codes
            if other != layer.contract.accumulator:
                yield Change(Cause.SATURATION, detail, codes, bits)


def _with(layer: Layer, accumulator: Accumulator) -> Layer:
    return replace(layer, contract=replace(layer.contract, accumulator=accumulator))


def _wrapped(layer: Layer) -> Tensor:
    """The low bits of each code, then the bounds of a Relu or Clip."""
    low, high = layer.range
    codes = (layer.wide() - low) % (high - low + 1) + low
    return layer.clipped(codes)
