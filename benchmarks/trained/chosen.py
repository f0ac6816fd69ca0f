"""Settings of each method, chosen once on test images 0 to 1999 with as many tries for each.

``python -m benchmarks.training --choose`` prints what every try gives there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.trained.loops import Settings

TRIES: Mapping[str, tuple[Settings, ...]] = {
    "qat": tuple(Settings("qat", rate) for rate in (0.003, 0.01, 0.03, 0.06)),
    "sam": tuple(Settings("sam", rate, radius) for rate in (0.01, 0.03) for radius in (0.05, 0.2)),
    "saq": tuple(Settings("saq", rate, radius) for rate in (0.01, 0.03) for radius in (0.3, 1.0)),
}
SQWA_RATES = (0.003, 0.01, 0.03, 0.06)
"""Highest rates of a cycle."""

_BEST: Mapping[str, Mapping[str, Settings]] = {
    widths: {
        "qat": Settings("qat", 0.01),
        "sam": Settings("sam", 0.01, 0.05),
        "saq": Settings("saq", 0.01, 0.3),
    }
    for widths in ("W4A4", "W3A3", "W2A2")
}
CHOSEN: Mapping[str, Mapping[str, Settings]] = {
    widths: {**best, "saq every 5": replace(best["saq"], every=5, between="reuse")}
    for widths, best in _BEST.items()
}
"""By widths and method; the cheaper schedule has the settings of SAQ, and no try of its own."""
PLAIN_RATE, SQWA_RATE = 0.03, 0.03
"""Of ternary weights."""
