"""Bootstrap intervals (Efron 1979, percentile method) of differences and ratios, always paired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]
DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    low: float
    middle: float
    high: float

    def text(self, digits: int = 2) -> str:
        """``middle [low, high]``."""
        return f"{self.middle:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def paired_difference(
    statistic: Callable[[Rows], float],
    first: Rows,
    second: Rows,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """``statistic(first) - statistic(second)``, the same units drawn for both.

    Args:
        statistic: of rows (units, k).
        first, second: one row a unit, in the same order.
        draws: bootstrap samples.
        seed: of the draws.
    """
    _check_paired(first, second)
    differences = [
        statistic(first[units]) - statistic(second[units])
        for units in _units(len(first), draws, seed)
    ]
    return _interval(differences, statistic(first) - statistic(second))


def median_ratio(first: Rows, second: Rows, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Median over rounds of ``first / second``; both are times of one round, positive."""
    _check_paired(first, second)
    ratios = first / second
    medians = [float(np.median(ratios[rounds])) for rounds in _units(len(ratios), draws, seed)]
    return _interval(medians, float(np.median(ratios)))


def _units(count: int, draws: int, seed: int) -> npt.NDArray[np.int64]:
    """``draws`` samples of ``count`` units, with replacement."""
    return np.random.default_rng(seed).integers(0, count, (draws, count))


def _interval(values: list[float], middle: float) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), middle, float(high))


def _check_paired(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> None:
    if len(first) != len(second) or not len(first):
        raise ValueError(f"paired rows wanted, found {len(first)} and {len(second)}")
