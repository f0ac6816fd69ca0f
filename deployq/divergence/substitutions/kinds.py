"""From one kind of requantization to another, with nothing else changed.

Some float32 kernels add the zero point to the value that they round (Add, AveragePool), which no
other kind does: there a change of the kind would be two changes.
"""

from __future__ import annotations

import torch

from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.requant_words import Functions
from deployq.divergence.layer import Layer


def keeps_zero(layer: Layer) -> bool:
    """True where the place of the zero point decides no code, or the kind has but one."""
    if layer.form.kind is Kind.THRESHOLDS:
        return True
    return torch.equal(layer.codes(), layer.with_zero_after())


def to_kind(layer: Layer, kind: Kind) -> Layer:
    """The layer under a multiplier that is no integer, which rounds half to even.

    Take the codes of float32 with :meth:`Layer.with_zero_after`. Tables stay as they are, but for
    those that integer multipliers make.
    """
    form = layer.form
    functions = Functions.EXACT if form.functions is Functions.INTEGER else form.functions
    return layer.with_form(
        Form(kind, s8_as_u8=form.s8_as_u8, functions=functions, softmax=form.softmax)
    )
