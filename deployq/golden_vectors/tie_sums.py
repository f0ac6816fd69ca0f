"""Sums of one channel that lie half way between two codes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deployq.arithmetic.multiplier import Q31
from deployq.arithmetic.rounding import Int64Array
from deployq.golden_vectors.ties import DOUBLE, tie_signs
from deployq_exporters.golden.plans import Plan
from deployq_exporters.golden.scaling import QUOTIENT, Scaling, spread

NEAR = np.arange(-2, 3)
"""Sums beside the real one that are looked at."""
MOST_CODES = 1 << 12
"""Of a wide output as many codes are looked at, evenly spread."""


def tie_sums(plan: Plan, channel: int, sign: int) -> Int64Array:
    """Every sum whose last rounding is a tie between codes that do not saturate, ascending.

    Of a layer that counts thresholds, these.

    Args:
        sign: of what is rounded, 1 or -1.
    """
    counted = plan.scalings[0].counted
    sums = sums_near(plan, channel, 0.5) if counted is None else counted.row(channel)
    return np.asarray(sums[tie_signs(plan.scalings[0], sums, channel) == sign])


def sums_near(plan: Plan, channel: int, above: float) -> Int64Array:
    """The sums whose scaled values lie nearest to each code plus ``above``, ascending."""
    scaling, low, high = plan.scalings[0], plan.low, plan.high
    step = max(1, (high - low) // MOST_CODES)
    places = np.arange(low, high, step) + above - added(scaling, channel)
    most = largest_sum(scaling, channel)
    middle = np.clip(np.rint(places / factor(scaling, channel)), -most, most).astype(np.int64)
    return np.unique(middle[:, None] + NEAR) - folded(scaling, channel)


def factor(scaling: Scaling, channel: int) -> float:
    """The real number that a sum is multiplied by."""
    at = channel if scaling.mantissa.size > 1 else 0
    mantissa = float(scaling.mantissa[at])
    if scaling.rounding == QUOTIENT:
        return 1.0 / mantissa
    real = float(np.ldexp(mantissa, -scaling.shift[at]))
    if scaling.divisor is not None:
        real /= float(spread(scaling.divisor, scaling).real[at])
    return real if real > 0 else float(np.finfo(np.float32).tiny)  # shared shifts lose channels


def added(scaling: Scaling, channel: int) -> float:
    """What lies between a scaled sum and its code, inside the rounding and behind it."""
    at = channel if scaling.mantissa.size > 1 else 0
    inside = [reals for reals in (scaling.inner, scaling.late) if reals is not None]
    return scaling.offset + sum(float(spread(reals, scaling).real[at]) for reals in inside)


def largest_sum(scaling: Scaling, channel: int) -> int:
    """A sum whose product with the mantissa has room in 64 bits, whatever its sign."""
    if scaling.precision or scaling.rounding == QUOTIENT:
        return 1 << 60
    at = channel if scaling.mantissa.size > 1 else 0
    ahead = Q31 if scaling.rounding in DOUBLE else max(scaling.post_shift, 0)
    left = max(ahead - int(scaling.shift[at]), 0)
    return ((1 << 61) // (int(scaling.mantissa[at]) + 1)) >> left


def folded(scaling: Scaling, channel: int) -> int:
    """What is added to a sum before it is multiplied."""
    if scaling.folded is None:
        return 0
    return int(scaling.folded[channel if scaling.folded.size > 1 else 0])


def wanted(plan: Plan, channels: Iterator[int], sign: int) -> Iterator[tuple[int, int]]:
    """Channels and sums to be reached, the smallest sums first."""
    for channel in channels:
        found = tie_sums(plan, channel, sign)
        for total in found[np.argsort(np.abs(found), kind="stable")][:4]:
            yield channel, int(total)
