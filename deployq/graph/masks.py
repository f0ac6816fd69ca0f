"""Masks: constants that say which scores of an attention count."""

from __future__ import annotations

import torch
from torch import Tensor

MASK = -50.0
"""Added to a score, it leaves a share of less than 1e-20."""

HIDDEN = float("-inf")
"""What a constant mask adds to a score that does not count."""


def added_to_scores(counts: Tensor) -> Tensor:
    """Reals of a mask of truths that says which scores count."""
    return torch.zeros(counts.shape).masked_fill(~counts, HIDDEN)


def is_mask(constant: Tensor) -> bool:
    """True for a constant that a grid would hold little of but the gap.

    It holds an infinity; or values of at most :data:`MASK` and others, with a gap between the two
    that is wider than all others span. Relative positions may be part of it:

        0 and -100;    -3 to 4 and -103 to -96    masks
        -60 to 60 in small steps                  none
        -124, -117 and -104                       none: nothing stands beside them
    """
    if constant.isinf().any():
        return True
    low = constant <= MASK
    masked, rest = constant[low], constant[~low]
    if not masked.numel() or not rest.numel():
        return False
    return bool(rest.min() - masked.max() > rest.max() - rest.min())
