"""A search of any scales in front of one on a lattice: its result, snapped, is a start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from deployq.errors import QuantizationError
from deployq.graph.preparation import PreparedModel
from deployq_calibration.evolq.activation_sites import ActivationSite
from deployq_calibration.evolq.genes import FloatGenes
from deployq_calibration.evolq.sites import SearchBlock
from deployq_targets.words import ScaleForm


def on_lattice(blocks: Sequence[SearchBlock]) -> bool:
    """True where any scale that is searched has to lie on a lattice."""
    return any(not isinstance(site.genes, FloatGenes) for b in blocks for site in b.sites)


def without_lattice(prepared: PreparedModel) -> PreparedModel:
    """The same network for a target that takes any scale; good for evaluation alone."""
    profile = prepared.profile
    free = {"scale_form": ScaleForm.ANY, "scale_exp_range": None}
    sections = {
        "weight": profile.weight.model_copy(update=free),
        "activation": profile.activation.model_copy(update=free),
    }
    return replace(prepared, profile=profile.model_copy(update=sections))


def snap(blocks: Sequence[SearchBlock], before: Sequence[Tensor]) -> None:
    """Put the scales in force on their lattices; activations first, weights' follow from them.

    Args:
        before: genes of each block, taken where the contract has no multiplier for a new scale.
    """
    sites = [s for block, genes in zip(blocks, before, strict=True) for s in block.parts(genes)]
    for site, genes in sorted(sites, key=lambda s: not isinstance(s[0], ActivationSite)):
        try:
            site.snap()
        except QuantizationError:
            site.write(genes)
