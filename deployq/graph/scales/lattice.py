"""Scales on the lattice that a contract can express, chosen before weights are rounded.

Two lattices: scales that are powers of two, where the profile's ``scale_form`` says so, and real
multipliers ``s_x s_w / s_y`` that a short mantissa holds exactly, where the contract's multiplier
is short or a layer shares one shift. The weight scale takes the second: it is per channel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq_targets import TargetProfile
from deployq_targets.tensors import Activation, Weight
from deployq_targets.words import ScaleForm

EXACT_MANTISSA_BITS = 23
"""A float32 scale, off by up to 2**-24, gives a mantissa of this many bits back exactly."""

FLOAT32_EXPONENTS = (-126, 127)


@dataclass(frozen=True)
class ScaleLattice:
    """The powers of two that a scale may be.

    Args:
        low, high: exponents.
    """

    low: int = FLOAT32_EXPONENTS[0]
    high: int = FLOAT32_EXPONENTS[1]

    def under(self, limit: float | None) -> ScaleLattice:
        """Those that are not above a limit; the least one where none is not."""
        if limit is None:
            return self
        return replace(self, high=max(min(self.high, int(_exponents(limit)[1])), self.low))


def lattice_of(section: Activation | Weight) -> ScaleLattice | None:
    """What a section of a profile demands of its scales; None: any scale will do."""
    if section.scale_form is not ScaleForm.POW2:
        return None
    return ScaleLattice(*(section.scale_exp_range or FLOAT32_EXPONENTS))


def neighbours(
    scale: Tensor, lattice: ScaleLattice, limit: float | None = None
) -> tuple[Tensor, Tensor]:
    """The lattice's scales around ``scale``: the next above or equal, and the next below.

    Args:
        scale: positive float32, any shape.
        limit: no scale is above it, where the lattice has one that is not.

    Returns:
        float32, of the shape of ``scale``; equal where only one is left.
    """
    kept = lattice.under(limit)
    above, below = (_powers(e.clip(kept.low, kept.high)) for e in _exponents(scale.numpy()))
    return above, below


def _exponents(values: Float64Array | float) -> tuple[Int64Array, Int64Array]:
    """log2, rounded up and down; exact."""
    fraction, exponent = np.frexp(np.asarray(values, np.float64))  # fraction in [1/2, 1)
    return np.asarray(exponent - (fraction == 0.5), np.int64), np.asarray(exponent - 1, np.int64)


def _powers(exponents: Int64Array) -> Tensor:
    return torch.from_numpy(np.asarray(np.ldexp(np.float32(1), exponents), np.float32))


def snap_scale(scale: Tensor, lattice: ScaleLattice, least: Tensor, errors: Tensor) -> Tensor:
    """The neighbour with the lower error; the upper one where they are equal.

    Args:
        scale: positive float32, any shape.
        least: float64 of that shape; no scale below it, where the lattice has one that is not.
        errors: (2, ...) of the upper and the lower neighbour.
    """
    above, below = neighbours(scale, lattice)
    snapped = torch.where((errors[1] < errors[0]) & (below >= least), below, above)
    floor = _powers(_exponents(least.numpy())[0].clip(lattice.low, lattice.high))
    return torch.maximum(snapped, floor)


def needs_lattice(form: Form) -> bool:
    """True where a form cannot follow every float32 weight scale of every channel."""
    short = form.multiplier_bits <= EXACT_MANTISSA_BITS
    return form.kind is Kind.FIXED and (short or form.shared_shift)


PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose weight scales a short multiplier puts on a lattice."""


def has_weight_lattice(profile: TargetProfile) -> bool:
    """True where weight scales lie on a lattice, of the profile's or of its multipliers."""
    contract = profile.contract()
    short = any(needs_lattice(contract.form(operator)) for operator in PRODUCTS)
    return short or profile.weight.scale_form is not ScaleForm.ANY


@dataclass(frozen=True)
class Multipliers:
    """Two multipliers ``mantissa * 2**-shift`` for each channel, around the wished one.

    Args:
        mantissas: (2, C) int64, the upper and the lower one, each at least 1.
        shift: (C,) int64.
    """

    mantissas: Int64Array
    shift: Int64Array

    @property
    def real(self) -> Float64Array:
        """(2, C): the values."""
        return np.ldexp(self.mantissas.astype(np.float64), -self.shift)


def multipliers_around(real: Float64Array, form: Form) -> Multipliers:
    """The multipliers of a FIXED form above and below ``real``.

    Under a shared shift, the largest of a layer decides it. Channels whose shift the hardware does
    not have get the smallest multiplier that it has. A mantissa too long for a float32 scale to
    give back is left where it is: that is no coarser than the scale itself.

    Args:
        real: (C,) positive float64.
    """
    bits = min(form.multiplier_bits, EXACT_MANTISSA_BITS)
    each = replace(form, shared_shift=False, multiplier_bits=bits, shift_min=-(1 << 20))
    shift = np.minimum(choose_fixed(real, replace(each, shift_max=1 << 20)).shift, _longest(form))
    if form.shared_shift:
        shift = np.full_like(shift, shift.min())
    steps = np.ldexp(real, shift)
    least = 1 if form.shared_shift else 1 << (bits - 1)
    found = np.stack([np.ceil(steps), np.floor(steps)]).astype(np.int64)
    return Multipliers(found.clip(least, (1 << bits) - 1), shift)


def _longest(form: Form) -> int:
    """The greatest shift of a mantissa of the exact width: a longer one is shifted further."""
    return form.shift_max - max(form.multiplier_bits - EXACT_MANTISSA_BITS, 0)


def weight_scales(real: Float64Array, x_scale: np.float32, y_scale: np.float32) -> Tensor:
    """float32 ``s_w`` with ``s_x s_w / s_y = real`` to 2**-24."""
    return torch.from_numpy((real * np.float64(y_scale) / np.float64(x_scale)).astype(np.float32))
