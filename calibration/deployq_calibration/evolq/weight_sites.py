"""The weight scales of one layer: how they are read, written and held to the target."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import Form, Kind
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import LinearCall, grid_of, output_params, output_quantizer
from deployq.graph.preparation import PreparedModel
from deployq.graph.scales.lattice import lattice_of, needs_lattice
from deployq.graph.scales.weight_lattice import has_multiplier, least_scale, set_weight_grid
from deployq_calibration.evolq.genes import FloatGenes, Genes, MultiplierGenes, PowerGenes
from deployq_calibration.evolq.settings import Codes, EvolveSettings


@dataclass(frozen=True)
class WeightSite:
    """The weight scales of one layer.

    Args:
        call: of the layer.
        genes: what its scales are made of.
        codes: that stay whatever the scale is, or None where they are rounded again.
        prepared: the network.
        form: of the layer on the target; None where any scale will do.
        output: quantizer of the layer's output; None of one that returns reals.
    """

    call: LinearCall
    genes: Genes
    codes: Tensor | None
    prepared: PreparedModel
    form: Form | None
    output: FakeQuantize | None

    @property
    def name(self) -> str:
        return f"{self.call.name}.weight"

    def read(self) -> Tensor:
        """Genes in force, (C,)."""
        return self.genes.encode(self._quantizer.qparams_scale().reshape(-1))

    def write(self, genes: Tensor) -> None:
        """Put genes in force."""
        self._put(self.genes.decode(genes))

    def holds(self) -> bool:
        """Whether the bias stays in its type and the multiplier in the target's range.

        Off a lattice, a channel whose bias leaves its type becomes its bias alone, on a scale that
        follows from it (law 2), and is evaluated so; on one it is no candidate.
        """
        if self.form is None:
            return True
        ends, scale = self.ends(), self._quantizer.qparams_scale().reshape(-1)
        least = least_scale(self.call, scale, ends[0], output_params(self.output), self.form)
        fits = scale.double() >= least.reshape(-1)
        if not isinstance(self.genes, FloatGenes) and not bool(fits.all()):
            return False
        return has_multiplier(scale[fits], self.form, ends)

    def snap(self) -> None:
        """Put the scale on its lattice: the neighbour with the least error of the weights.

        Raises:
            QuantizationError: the contract has no multiplier for it.
        """
        quantizer = self._quantizer
        set_weight_grid(self.prepared, self.call, (quantizer.scale.detach(), quantizer.zero_point))
        self._put(quantizer.qparams_scale().reshape(-1))

    def _put(self, scale: Tensor) -> None:
        quantizer = self._quantizer
        shaped = scale.reshape(quantizer.scale.shape)
        quantizer.set_qparams(shaped, quantizer.zero_point)
        if self.codes is not None:
            self._keep_codes(self.codes, shaped)

    @property
    def _quantizer(self) -> FakeQuantize:
        return self.call.unit.weight_quantizer

    def ends(self) -> tuple[np.float32, np.float32]:
        """Scales of the layer's input and output."""
        x = grid_of(self.prepared.module, self.call.source).scale
        return np.float32(x), np.float32(output_params(self.output).scale)

    @torch.no_grad()
    def _keep_codes(self, codes: Tensor, scale: Tensor) -> None:
        """The weight becomes what its codes stand for now."""
        unit, norm, weight = self.call.unit, self.call.norm, self.call.weight
        params = scale.to(weight.device), self._quantizer.zero_point
        scales, zeros = (self._quantizer.expand(each, weight) for each in params)
        seen = (codes - zeros).float() * scales
        factor = unit.scaled_weight(torch.ones_like(weight), norm)
        weight.copy_(torch.where(factor == 0, weight, seen / factor))


def weight_site(
    prepared: PreparedModel, call: LinearCall, settings: EvolveSettings, *, any_scale: bool
) -> WeightSite:
    """Of a layer; with any scale, whatever lattice the target has."""
    quantizer = call.unit.weight_quantizer
    frozen = settings.codes is Codes.FROZEN
    codes = quantizer.codes(call.seen_weight()) if frozen else None
    form = prepared.profile.contract().form(call.unit.form_name(call.weight))
    output = output_quantizer(prepared, call.name)
    site = WeightSite(call, FloatGenes(), codes, prepared, None if any_scale else form, output)
    lattice = lattice_of(prepared.profile.weight)
    if any_scale:
        return site
    if lattice is not None:
        return replace(site, genes=PowerGenes(lattice))
    if form.kind is Kind.FIXED and needs_lattice(form):
        return replace(site, genes=MultiplierGenes(form, *site.ends()))
    return site
