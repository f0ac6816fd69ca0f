"""Operators along rows, which some targets have in integers and others in float."""

from __future__ import annotations

from deployq.arithmetic.contract import Form
from deployq.arithmetic.requant_words import Normalization, Softmax

NORMALIZATIONS = ("LayerNormalization", "RMSNormalization")
ROW_OPERATORS = ("Softmax", *NORMALIZATIONS)


def in_integers(operator: str, form: Form) -> bool:
    """True where a form has one of :data:`ROW_OPERATORS` in integers from codes to codes."""
    if operator == "Softmax":
        return form.softmax is Softmax.INTEGER
    return form.normalization is Normalization.INTEGER
