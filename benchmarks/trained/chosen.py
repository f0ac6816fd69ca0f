"""Settings of each method, chosen once on test images 0 to 1999 with as many tries for each.

``python -m benchmarks.training --choose`` prints what every try gives there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.trained.loops import Settings

RATES = {"W4A4": (0.0003, 0.001, 0.003)}
OTHER_RATES = (0.001, 0.003, 0.006)
"""Low, middle and high; wide codes start near the float network and need less."""


def tries_of(widths: str) -> tuple[Settings, ...]:
    """Three tries for each method, the cheaper schedule among them."""
    low, middle, high = RATES.get(widths, OTHER_RATES)
    return (
        *(Settings("qat", rate) for rate in (low, middle, high)),
        Settings("sam", middle, 0.05), Settings("sam", middle, 0.2), Settings("sam", high, 0.05),
        Settings("saq", middle, 0.3), Settings("saq", middle, 1.0), Settings("saq", high, 0.3),
        Settings("saq", middle, 0.3, 5, "reuse"), Settings("saq", middle, 0.3, 5, "looksam"),
        Settings("saq", low, 0.3, 5, "looksam"),
    )  # fmt: skip


_TWO_BITS = {
    "qat": Settings("qat", 0.003),
    "sam": Settings("sam", 0.003, 0.05),
    "saq": Settings("saq", 0.003, 0.3),
}
_BEST: Mapping[str, Mapping[str, Settings]] = {
    "W4A4": {
        "qat": Settings("qat", 0.0003),
        "sam": Settings("sam", 0.001, 0.2),
        "saq": Settings("saq", 0.001, 0.3),
    },
    "W3A3": _TWO_BITS,
    "W2A2": _TWO_BITS,
}
"""The highest top-1 of the tries; three bits take what was chosen for two, untried."""
CHOSEN: Mapping[str, Mapping[str, Settings]] = {
    widths: {**best, "saq every 5": replace(best["saq"], every=5, between="reuse")}
    for widths, best in _BEST.items()
}
"""By widths and method; the cheaper schedule has the settings of SAQ, and no try of its own."""
PLAIN_RATE = SQWA_RATE = 0.001
"""Of ternary weights; SQWA takes what was chosen for plain retraining, untried."""
