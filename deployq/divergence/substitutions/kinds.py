"""From one kind of requantization to another, with nothing else changed.

Some float32 kernels add the zero point to the value that they round (Add, AveragePool), which no
other kind does: there a change of the kind would be two changes.
"""

from __future__ import annotations

import torch

from deployq.arithmetic.contract import Form, Kind
from deployq.divergence.layer import Layer


def keeps_zero(layer: Layer) -> bool:
    """True where the place of the zero point decides no code, or the kind has but one."""
    return torch.equal(layer.codes(), layer.with_zero_after())


def to_float32(layer: Layer) -> Layer:
    """The layer under a float32 multiplier; take its codes :meth:`Layer.with_zero_after`."""
    return layer.with_form(Form(Kind.FLOAT32, s8_as_u8=layer.form.s8_as_u8))
