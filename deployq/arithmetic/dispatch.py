"""From (operator, kind of form) to the function that computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.form_words import unobeyed
from deployq.errors import ProfileError, UnsupportedError

Function = TypeVar("Function")


def pick(operator: str, functions: Mapping[Kind, Function], form: Form) -> Function:
    """The function of ``functions`` that has the kind of ``form``.

    Raises:
        UnsupportedError: the operator has no arithmetic of this kind, or the form has words that
            no function obeys.
        ProfileError: a FLOAT32 or EXACT form with another rounding than half_even.
    """
    if form.kind not in functions:
        raise UnsupportedError(
            operator,
            "the operator has no arithmetic of this kind",
            found=form.kind.value,
            allowed=", ".join(kind.value for kind in functions),
            next_step=f"state another form for {operator} in the profile",
        )
    words = unobeyed(operator, form)
    if words:
        raise UnsupportedError(
            operator,
            "the profile states an arithmetic that deployq does not carry yet",
            found=", ".join(words),
            allowed="a form without these words",
            next_step="simulate another target, or a profile of your own without them",
        )
    if form.kind in (Kind.EXACT, Kind.FLOAT32) and form.rounding is not Rounding.HALF_EVEN:
        raise ProfileError(
            operator,
            f"a form of kind '{form.kind.value}' rounds half to even",
            found=form.rounding.value,
            allowed=Rounding.HALF_EVEN.value,
            next_step='state rounding = "half_even", or kind = "fixed"',
        )
    return functions[form.kind]
