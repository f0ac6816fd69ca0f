"""Cross-layer equalization: the channels between two layers get ranges that fit both.

Nagel et al. 2019, arXiv 1906.04721, section 4.1: for a positively homogeneous ``f``,
``W2 f(W1 x) = (W2 C) f(C^-1 W1 x)`` for every positive diagonal ``C``; with
``c_i = sqrt(r1_i / r2_i)`` (eq. 11, ``r`` the largest magnitude of channel i in each layer) both
layers have the range ``sqrt(r1_i r2_i)`` there. Runs before calibration; the float function stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.graph.preparation import PreparedModel
from deployq_calibration.corrections.pairs import Pair, find_pairs
from deployq_calibration.corrections.settings import Advance, Batches, Change, CorrectionSettings

NAME = "equalization"
FIGURE = "octaves between the two ranges of a channel, the largest"

SWEEPS = 20
"""Most times that all pairs are equalized: in a chain one undoes a little of the one before."""

SETTLED = 1e-3
"""Octaves that may be left."""


def equalize(
    prepared: PreparedModel,
    batches: Batches,
    settings: CorrectionSettings,
    progress: Advance = lambda stage: None,
) -> tuple[Change, ...]:
    """Equalize the channels of every pair of layers, in place.

    A pair is a linear layer whose output only one other linear layer reads, directly or through a
    ReLU. ReLU6 and other bounded functions are not homogeneous: such pairs stay as they are.

    Args:
        prepared: a model that is calibrated afterwards: the ranges of activations change.
        batches, settings: not looked at.
        progress: told of each sweep.

    Returns:
        One entry a pair.
    """
    pairs, skipped = find_pairs(prepared.module)
    before = [pair.octaves() for pair in pairs]
    for _ in range(SWEEPS):
        progress("equalize")
        if max((pair.octaves() for pair in pairs), default=0.0) <= SETTLED:
            break
        for pair in pairs:
            pair.scale(_factors(pair))
    return (
        *(
            Change(NAME, pair.name, octaves, pair.octaves(), FIGURE)
            for pair, octaves in zip(pairs, before, strict=True)
        ),
        *(Change(NAME, name, skipped=reason) for name, reason in skipped.items()),
    )


def _factors(pair: Pair) -> Tensor:
    """``c`` of each channel, (C,); 1 where a range is zero: nothing to share."""
    first, second = pair.ranges()
    both = (first > 0) & (second > 0)
    return torch.where(both, (first / second).sqrt(), torch.ones_like(first))
