"""The range with the least error: a coarse search in steps of a ratio, then finer ones around it.

Each step is a batch of grids, so that an error can be computed for all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.ranges import Grid, has_free_zero_point, qparams_of_range

Error: TypeAlias = Callable[[Grid], Tensor]
"""(K, ...) errors of (K, ...) grids."""

COARSE_RATIO, COARSE_STEPS = 2.0**0.125, 56
"""Whole range to 1/128 of it, 8 ranges an octave."""

FINER = 4
"""Each finer search has steps this many times shorter, as many on each side."""

FINER_SEARCHES = 2


def least_error(quantizer: FakeQuantize, low: Tensor, high: Tensor, error: Error) -> Grid:
    """Scale and zero point of the range inside [low, high] with the least error.

    Both ends shrink together; then, where the zero point is free, each on its own. Among equal
    errors the widest range wins.

    Args:
        quantizer: gives type, pinned zero point and symmetry.
        low, high: float64 of the scale's shape, low <= 0 <= high.
        error: of a batch of grids.
    """
    ends = torch.stack([low, high])
    both = torch.ones(2, dtype=torch.float64)
    found = _Search(quantizer, ends, error)
    found.along(both, COARSE_RATIO, range(COARSE_STEPS))
    _refine(found, both)
    if has_free_zero_point(quantizer):
        for _ in range(2):
            for end in torch.eye(2, dtype=torch.float64):
                found.along(end, COARSE_RATIO, range(-COARSE_STEPS // 4, COARSE_STEPS // 4))
                _refine(found, end)
    return found.grid


def _refine(found: _Search, direction: Tensor) -> None:
    ratio = COARSE_RATIO
    for _ in range(FINER_SEARCHES):
        ratio = ratio ** (1 / FINER)
        found.along(direction, ratio, range(-FINER, FINER + 1))


class _Search:
    """The best range so far: never one that is worse than the whole."""

    def __init__(self, quantizer: FakeQuantize, ends: Tensor, error: Error) -> None:
        self.quantizer = quantizer
        self.whole = ends
        self.error = error
        self.ends = ends
        self.grid = qparams_of_range(quantizer, *ends)
        scale, zero_point = self.grid
        self.least = error((scale[None], zero_point[None]))[0]

    def along(self, direction: Tensor, ratio: float, steps: range) -> None:
        """Divide the ends, (2, ...), by powers of ``ratio``; no end leaves the whole range."""
        powers = torch.tensor(steps, dtype=torch.float64)[:, None] * direction
        shrink = ratio ** -powers.reshape(-1, 2, *[1] * (self.whole.ndim - 1))
        ends = torch.where(
            self.whole < 0, (self.ends * shrink).maximum(self.whole),
            (self.ends * shrink).minimum(self.whole),
        )  # fmt: skip
        scale, zero_point = qparams_of_range(self.quantizer, ends[:, 0], ends[:, 1])
        errors = self.error((scale, zero_point))
        best = errors.argmin(0, keepdim=True)  # the first of equal ones: the widest
        least = errors.gather(0, best)[0]
        better = least < self.least
        self.least = torch.where(better, least, self.least)
        chosen = (_pick(part, best) for part in (scale, zero_point))
        scale, zero_point = (
            torch.where(better, new, old) for new, old in zip(chosen, self.grid, strict=True)
        )
        self.grid = scale, zero_point
        picked = torch.stack([_pick(ends[:, 0], best), _pick(ends[:, 1], best)])
        self.ends = torch.where(better, picked, self.ends)


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(0, index)[0]
