"""Changes of a layer's arithmetic, one file a cause; each starts from the layer as it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from deployq.divergence.facts import Cause
from deployq.divergence.substitutions import (
    bias,
    clipping,
    fusion,
    multiplier,
    rounding,
    saturation,
)
from deployq.divergence.substitutions.case import Case, Change
from deployq.errors import DeployqError

__all__ = ["Case", "Change", "all_changes"]

SUBSTITUTIONS: tuple[Callable[[Case], Iterator[Change]], ...] = (
    rounding.changes,
    multiplier.changes,
    bias.changes,
    clipping.changes,
    fusion.changes,
    saturation.changes,
)


def all_changes(case: Case) -> Iterator[Change]:
    """Every change of every cause that has a meaning for the layer.

    Of a layer in float, all but other kernels also changes its float sums to exact ones.
    """
    for substitution in SUBSTITUTIONS:
        try:
            for change in substitution(case):
                own = case.kernels is None or change.cause is Cause.FUSION
                yield change if own else replace(change, contains=fusion.EXACT_SUMS)
        except DeployqError:  # the layer's arithmetic has no such part
            continue
