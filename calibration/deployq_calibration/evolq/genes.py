"""Genes: what is mutated. The deployed numbers themselves, so that what is tuned is what ships.

any scale        the float32 scale
powers of two    its exponent
short mantissa   the multiplier ``M = s_x s_w / s_y = m 2**-n``, m of b bits

A gene is float64 and exact in each case; the scale is derived from it and never rounded again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from deployq.arithmetic.contract import Form
from deployq.graph.scales.lattice import ScaleLattice, multipliers_around, weight_scales
from deployq_calibration.evolq.settings import EvolveSettings, Mutation

POWERS_CHANGED = 16
"""Exponents of a child that change, on average: a step is a factor of two (our choice)."""
TINY = float(np.finfo(np.float32).tiny)


class Genes(Protocol):
    """Of one tensor's scales."""

    def encode(self, scale: Tensor) -> Tensor:
        """float32 scales that are on the lattice already -> float64 genes, both (C,)."""

    def decode(self, genes: Tensor) -> Tensor:
        """float64 genes -> float32 scales."""

    def mutate(
        self, genes: Tensor, chosen: Tensor, settings: EvolveSettings, draw: Generator
    ) -> Tensor:
        """A child; genes that are not ``chosen``, a boolean tensor, stay."""


class FloatGenes:
    """Any float32 scale."""

    def encode(self, scale: Tensor) -> Tensor:
        return scale.double()

    def decode(self, genes: Tensor) -> Tensor:
        return genes.float()

    def mutate(
        self, genes: Tensor, chosen: Tensor, settings: EvolveSettings, draw: Generator
    ) -> Tensor:
        noise = settings.width * (2 * torch.rand(genes.shape, generator=draw).double() - 1)
        moved = genes + noise * (genes if settings.mutation is Mutation.RELATIVE else 1.0)
        child = moved.abs().clamp(min=TINY).float().double()
        return torch.where(chosen, child, genes)


@dataclass(frozen=True)
class PowerGenes:
    """Exponents of a lattice of powers of two."""

    lattice: ScaleLattice

    def encode(self, scale: Tensor) -> Tensor:
        return torch.log2(scale.double()).round()

    def decode(self, genes: Tensor) -> Tensor:
        return torch.exp2(genes).float()

    def mutate(
        self, genes: Tensor, chosen: Tensor, settings: EvolveSettings, draw: Generator
    ) -> Tensor:
        up = torch.rand(genes.shape, generator=draw) < 0.5
        child = (genes + torch.where(up, 1.0, -1.0)).clamp(self.lattice.low, self.lattice.high)
        return torch.where(chosen, child, genes)


@dataclass(frozen=True)
class MultiplierGenes:
    """Real multipliers of a short mantissa; under a shared shift, all stay on that shift's steps.

    Args:
        form: of the layer, of kind FIXED.
        x_scale, y_scale: of its input and output, float32.
    """

    form: Form
    x_scale: np.float32
    y_scale: np.float32

    def encode(self, scale: Tensor) -> Tensor:
        real = scale.double().numpy() * np.float64(self.x_scale) / np.float64(self.y_scale)
        both = multipliers_around(real, self.form).real
        nearer = np.abs(both[1] - real) < np.abs(both[0] - real)
        return torch.from_numpy(np.where(nearer, both[1], both[0]))

    def decode(self, genes: Tensor) -> Tensor:
        return weight_scales(genes.numpy(), self.x_scale, self.y_scale)

    def mutate(
        self, genes: Tensor, chosen: Tensor, settings: EvolveSettings, draw: Generator
    ) -> Tensor:
        shift = multipliers_around(genes.numpy(), self.form).shift
        steps = np.ldexp(genes.numpy(), shift)
        reach = np.maximum(1, np.round(settings.width * steps))
        drawn = torch.rand(genes.shape, generator=draw).double().numpy()
        moved = np.maximum(steps + np.floor(drawn * (2 * reach + 1)) - reach, 1)
        if self.form.shared_shift:
            moved = np.minimum(moved, (1 << self.form.multiplier_bits) - 1)
        real = np.ldexp(moved, -shift)
        if not self.form.shared_shift:  # beyond the mantissa the shift changes, and with it a step
            real = multipliers_around(real, self.form).real[1]
        return torch.where(chosen, torch.from_numpy(real), genes)
