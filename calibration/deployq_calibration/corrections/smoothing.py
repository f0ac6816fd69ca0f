"""Smoothing: outlying channels behind a LayerNorm become outlying columns of the next weights.

SmoothQuant (Xiao et al. 2023, arXiv 2211.10438): channel j of ``X`` is divided by
``s_j = max|X_j|**alpha / max|W_j|**(1 - alpha)`` (eq. 4) and column j of ``W`` multiplied by it;
gamma and beta of the LayerNorm in front carry the division, so the float function stays. Rounded to
powers of two the factors are those of FQ-ViT's power-of-two factor (Lin et al. 2022,
arXiv 2111.13824, section 3.2), folded into the weights: the tensor keeps one scale, which every
target has. Runs before calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from deployq.errors import InputError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.layer_placement import count_reads
from deployq.graph.preparation import PreparedModel
from deployq.graph.rewrites.rule import argument, calls
from deployq.graph.tensors import read_tensor
from deployq_calibration.corrections.blocks import (
    linear_nodes,
    unit_of,
)
from deployq_calibration.corrections.settings import Advance, Batches, Change, CorrectionSettings
from deployq_calibration.corrections.streams import Stream, collect, watch_in_float

NAME = "smoothing"
POWERS = "pow2"
FIGURE = "largest magnitude of a LayerNorm's channels over their mean one"


@dataclass(frozen=True)
class Site:
    """A LayerNorm that only linear layers read.

    Args:
        node: of the LayerNorm.
        name: of its output.
        affine: gamma and beta, (C,) each; beta may be missing.
        weights: of its readers, (O, C) each.
    """

    node: fx.Node
    name: str
    affine: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]

    def columns(self) -> Tensor:
        """Largest magnitude of each column, over all readers, (C,)."""
        return torch.stack([w.detach().abs().amax(0) for w in self.weights]).amax(0)

    @torch.no_grad()
    def divide(self, factors: Tensor) -> None:
        """Divide the channels, and multiply the columns that read them."""
        for tensor in self.affine:
            tensor.div_(factors)
        for weight in self.weights:
            weight.mul_(factors)


def smooth(
    prepared: PreparedModel,
    batches: Batches,
    settings: CorrectionSettings,
    progress: Advance = lambda stage: None,
) -> tuple[Change, ...]:
    """Smooth the channels of every LayerNorm that only linear layers read, in place.

    Args:
        prepared: a model that is calibrated afterwards: the ranges of activations change.
        batches: one pass over the calibration data.
        settings: ``smoothing``, alpha of eq. 4, and whether factors are powers of two.
        progress: told of each batch.

    Returns:
        One entry a LayerNorm; why one stays where something else reads it.

    Raises:
        InputError: no data.
    """
    sites, skipped = find_sites(prepared.module)
    largest = _magnitudes(prepared, batches, settings, [s.node for s in sites], progress)
    changes = []
    for site in sites:
        seen = largest[site.node]
        factors = smoothing_factors(seen, site.columns(), settings)
        site.divide(factors)
        changes.append(Change(NAME, site.name, _peak(seen), _peak(seen / factors), FIGURE))
    return (*changes, *(Change(NAME, name, skipped=reason) for name, reason in skipped.items()))


def smoothing_factors(activation: Tensor, weight: Tensor, settings: CorrectionSettings) -> Tensor:
    """``s`` of eq. 4 for each channel; 1 where a channel or its column is zero.

    Args:
        activation, weight: largest magnitudes, (C,).
    """
    alpha = settings.smoothing
    both = (activation > 0) & (weight > 0)
    factors = activation.pow(alpha) / weight.pow(1 - alpha)
    if settings.smoothing_powers:
        factors = torch.exp2(torch.log2(factors).round())
    return torch.where(both, factors, torch.ones_like(factors))


def smoothing_settings(wish: str, settings: CorrectionSettings) -> CorrectionSettings:
    """What ``smoothing``, ``smoothing:0.7`` or ``smoothing:0.7:pow2`` asks for.

    Raises:
        InputError: alpha is no number of 0 to 1, or something else follows it.
    """
    _, *parameters = wish.split(":")
    try:
        alpha = float(parameters[0]) if parameters else settings.smoothing
    except ValueError:
        alpha = -1.0
    powers = parameters[1:] == [POWERS]
    if not 0 <= alpha <= 1 or (parameters[1:] and not powers):
        raise InputError(
            "corrections",
            "smoothing takes the share alpha of a channel's range that moves, and pow2 behind it",
            found=wish,
            allowed=f"{NAME}, {NAME}:0.5 with 0 to 1, or {NAME}:0.5:{POWERS}",
            next_step="0.5 is the paper's default",
        )
    return replace(settings, smoothing=alpha, smoothing_powers=powers or settings.smoothing_powers)


def find_sites(module: fx.GraphModule) -> tuple[list[Site], dict[str, str]]:
    """The LayerNorms of a prepared graph that can be smoothed, and why others cannot, by name."""
    reads = count_reads(module)
    sites: list[Site] = []
    skipped: dict[str, str] = {}
    for node in module.graph.nodes:
        if not calls(node, torch.ops.aten.layer_norm.default):
            continue
        name, readers = str(node.meta["name"]), linear_readers(module, node)
        affine = [argument(node, 2, "weight"), argument(node, 3, "bias")]
        tensors = tuple(read_tensor(module, arg) for arg in affine if isinstance(arg, fx.Node))
        if not readers:
            skipped[name] = "not only linear layers read it"
            continue
        weights = tuple(read_tensor(module, reader.args[1]) for reader in readers)
        if not isinstance(affine[0], fx.Node) or tensors[0].ndim != 1:
            skipped[name] = "it has no gamma of one axis"
        elif any(reads[id(tensor)] > 1 for tensor in (*tensors, *weights)):
            skipped[name] = "a tensor is read twice"
        else:
            sites.append(Site(node, name, tensors, weights))
    return sites, skipped


def linear_readers(module: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """The fully connected layers behind a tensor's quantizer; none where anything else reads it."""
    if len(node.users) != 1:
        return []
    (quantizer,) = node.users
    if quantizer.op != "call_module":
        return []
    between = module.get_submodule(str(quantizer.target))
    if not isinstance(between, FakeQuantize) or _is_bounded(between):
        return []
    readers = linear_nodes(module, list(quantizer.users))
    plain = all(
        reader.args[0] is quantizer and unit_of(module, reader).op_type == "Gemm"
        for reader in readers
    )
    return readers if plain and len(readers) == len(quantizer.users) else []


def _is_bounded(quantizer: FakeQuantize) -> bool:
    return quantizer.scale_limit is not None or quantizer.fixed_scale is not None


def _magnitudes(
    prepared: PreparedModel,
    batches: Batches,
    settings: CorrectionSettings,
    nodes: Sequence[fx.Node],
    progress: Advance,
) -> dict[fx.Node, Tensor]:
    """Largest magnitude of each channel, the last axis, in the float network."""
    found: dict[fx.Node, Tensor] = {}

    def see(node: fx.Node, made: Tensor) -> None:
        here = made.detach().abs().flatten(0, -2).amax(0)
        found[node] = torch.maximum(found[node], here) if node in found else here

    samples = Stream(prepared, collect(batches(), settings.samples))
    if nodes:
        watch_in_float(samples, nodes, see, lambda: progress("smooth"))
    return found


def _peak(magnitudes: Tensor) -> float:
    return float(magnitudes.max() / magnitudes.mean().clamp(min=torch.finfo(torch.float32).tiny))
