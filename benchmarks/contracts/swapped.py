"""Contracts that differ in their requantization alone."""

from __future__ import annotations

from dataclasses import replace

from deployq.arithmetic.contract import Contract, Form, Kind, Rounding
from deployq_targets import load_profile

BASE = "ort-cpu"
"""The contract that the others are compared with; its accumulator stands in all of them."""


def swapped_contracts() -> dict[str, Contract]:
    """Label to contract; the first is :data:`BASE` itself.

    Qualcomm's arithmetic is known of some operators alone: the others stay as in the base.
    """
    base = load_profile(BASE).contract()
    known = {
        operator: form
        for operator, form in load_profile("qnn-htp").contract().by_op.items()
        if form.kind is not Kind.VENDOR
    }
    htp = f"qnn-htp ({', '.join(sorted(known))})"
    return {
        BASE: base,
        "litert-ref": replace(load_profile("litert-ref").contract(), accumulator=base.accumulator),
        htp: replace(base, name="qnn-htp", by_op={**base.by_op, **known}),
        **{f"{bits}-bit multiplier": _fixed(base, bits) for bits in (16, 12, 8)},
        "shift only": _fixed(base, 1),  # a mantissa of one bit: the nearest power of two
        "truncation": _fixed(base, 31, Rounding.FLOOR),
    }


def _fixed(base: Contract, bits: int, rounding: Rounding = Rounding.HALF_UP) -> Contract:
    """A fixed multiplier of this many bits for every operator."""
    form = Form(Kind.FIXED, rounding, multiplier_bits=bits)
    return Contract(f"fixed {bits} {rounding.value}", form, accumulator=base.accumulator)
