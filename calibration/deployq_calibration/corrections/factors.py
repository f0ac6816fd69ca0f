"""Factors: outlying channels behind a function in float get a scale of their own, by a Mul.

    Gelu -> Q -> layer(W)        becomes        Gelu -> Mul(1 / s) -> Q -> layer(W s)

SmoothQuant (Xiao et al. 2023, arXiv 2211.10438), eq. 4, for tensors without a LayerNorm that could
carry the division: where the target computes the function in float, it has a product in float too.
The factors are powers of two, so the float function stays to the bit. They are those of eq. 4
relative to the mean channel and never below 1: quiet channels stay as they are, for the negative
side of a GELU, which all of them share, would grow. A product costs time, so a site has one only
where one scale costs much (:data:`WORTH`) and factors mend that (:data:`MENDED`). Runs before
calibration.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from deployq.graph.preparation import PreparedModel
from deployq_calibration.corrections.function_sites import FunctionSite, find_functions
from deployq_calibration.corrections.settings import Advance, Batches, Change, CorrectionSettings
from deployq_calibration.corrections.streams import ROWS, Stream, collect, watch_in_float

NAME = "factors"
FIGURE = "squared error over square of the readers' outputs, the median row"

SHARES = (0.5, 0.75, 1.0)
"""Alpha of eq. 4, of which the best is taken."""

WORTH = 1e-2
"""The figure from which a site is worth a product. ViT-Tiny at 8 bits has 0.2 at one GELU and at
most 0.003 at the others: factors at that one take two thirds off the network's divergence, at the
others nothing.
"""

MENDED = 0.5
"""Part of the figure that factors may leave."""

KEPT = 4096
"""Rows of a tensor that the figure is of; the ranges are those of all rows."""


def scale_channels(
    prepared: PreparedModel,
    batches: Batches,
    settings: CorrectionSettings,
    progress: Advance = lambda stage: None,
) -> tuple[Change, ...]:
    """Put factors behind the functions in float where they pay, in place.

    Args:
        prepared: a model that is calibrated afterwards: the ranges of activations change.
        batches: one pass over the calibration data; not called where there is no such function.
        settings: samples that are looked at, and the seed of the choice of rows.
        progress: told of each batch.

    Returns:
        One entry a function that fully connected layers read; why one stays as it is.

    Raises:
        InputError: no data.
    """
    sites, skipped = find_functions(prepared)
    changes = []
    if sites:
        peaks, rows = _look(prepared, batches, settings, [site.node for site in sites], progress)
        changes = [_scale(prepared.module, s, peaks[s.node], rows[s.node]) for s in sites]
    return (*changes, *(Change(NAME, name, skipped=reason) for name, reason in skipped.items()))


def channel_factors(activation: Tensor, weight: Tensor, alpha: float) -> Tensor:
    """``max(1, s)`` for each channel, ``s`` of eq. 4 over that of a mean channel, powers of two.

    Args:
        activation, weight: largest magnitudes, (C,).
        alpha: the share of a channel's range that moves into the weights.

    Returns:
        (C,); 1 where a channel or its column is zero.
    """
    both = (activation > 0) & (weight > 0)
    factors = (activation / activation.mean()) ** alpha / (weight / weight.mean()) ** (1 - alpha)
    factors = torch.exp2(torch.log2(factors).round())
    return torch.where(both, factors, torch.ones_like(factors)).clamp(min=1)


def _scale(module: fx.GraphModule, site: FunctionSite, peaks: Tensor, rows: Tensor) -> Change:
    before = site.error(rows, torch.ones_like(peaks))
    if before < WORTH:
        return Change(NAME, site.name, skipped=f"one scale fits: {FIGURE}, is {before:.2g}")
    tried = [channel_factors(peaks, site.columns(), alpha) for alpha in SHARES]
    after, best = min((site.error(rows, factors), number) for number, factors in enumerate(tried))
    if after > MENDED * before:
        reason = f"factors leave {after:.2g} of {before:.2g} ({FIGURE})"
        return Change(NAME, site.name, skipped=reason)
    site.divide(module, tried[best])
    return Change(NAME, site.name, before, after, FIGURE)


def _look(
    prepared: PreparedModel,
    batches: Batches,
    settings: CorrectionSettings,
    nodes: Sequence[fx.Node],
    progress: Advance,
) -> tuple[dict[fx.Node, Tensor], dict[fx.Node, Tensor]]:
    """Largest magnitude of each channel, the last axis, in the float network, and some rows."""
    peaks, parts = dict[fx.Node, Tensor](), dict[fx.Node, list[Tensor]]()
    samples = Stream(prepared, collect(batches(), settings.samples))
    draw = torch.Generator().manual_seed(settings.seed)
    share = max(1, KEPT * ROWS // len(samples))

    def see(node: fx.Node, made: Tensor) -> None:
        flat = made.detach().flatten(0, -2)
        here = flat.abs().amax(0)
        peaks[node] = torch.maximum(peaks[node], here) if node in peaks else here
        chosen = torch.randperm(len(flat), generator=draw)[:share].to(flat.device)
        parts.setdefault(node, []).append(flat[chosen])

    watch_in_float(samples, nodes, see, lambda: progress("factors"))
    return peaks, {node: torch.cat(found) for node, found in parts.items()}
