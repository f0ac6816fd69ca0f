"""Operators along rows, which some targets have in integers and others in float."""

from __future__ import annotations

from collections.abc import Sequence

from deployq.arithmetic.contract import Contract, Form
from deployq.arithmetic.pairs import is_pair
from deployq.arithmetic.requant_words import LITERT_SHARES, Normalization, Softmax

NORMALIZATIONS = ("LayerNormalization", "RMSNormalization")
ROW_OPERATORS = ("Softmax", *NORMALIZATIONS)
SHARES = (Softmax.INTEGER, Softmax.PAIRS, *LITERT_SHARES)
"""From codes to codes in steps of their own, whatever kind of form they stand in."""


def in_integers(operator: str, form: Form) -> bool:
    """True where a form has one of :data:`ROW_OPERATORS` from codes to codes, in known steps."""
    if operator == "Softmax":
        return form.softmax in SHARES
    return form.normalization is Normalization.INTEGER


def knows_rows(contract: Contract, shape: Sequence[int]) -> bool:
    """False of a Softmax over longer rows, where those of two are all that is known of a target."""
    return contract.form("Softmax").softmax is not Softmax.PAIRS or is_pair(shape)
