"""A share of samples, and between which shares it may lie."""

from __future__ import annotations

import math

Z = 1.959964
"""Of 95 % of a normal distribution, both sides."""


def wilson(hits: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, in [0, 1] (Wilson, JASA 22, 1927).

    Args:
        hits: 0 to ``count``.
        count: above 0.
    """
    share, z2 = hits / count, Z * Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)
