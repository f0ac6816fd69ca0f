"""Settings of each method, chosen once on test images 0 to 1999 with as many tries for each.

``python -m benchmarks.training --choose`` prints what every try gives there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.trained.loops import Settings
from deployq.train.between import Between

RATES = {"W4A4": (0.0003, 0.001, 0.003), "W3A3": (0.0003, 0.001, 0.003)}
OTHER_RATES = (0.001, 0.003, 0.006)
"""Low, middle and high; wide codes start near the float network and need less."""
CHEAP = "saq every 5"


def tries_of(widths: str) -> tuple[Settings, ...]:
    """Three tries for each method; those of the cheaper schedule are from the settings of SAQ."""
    low, middle, high = RATES.get(widths, OTHER_RATES)
    best = _BEST.get(widths, {})
    cheap = (replace(best["saq"], every=5, between=b) for b in Between) if best else ()
    return (
        *(Settings("qat", rate) for rate in (low, middle, high)),
        Settings("sam", middle, 0.05), Settings("sam", middle, 0.2), Settings("sam", high, 0.05),
        Settings("saq", middle, 0.3), Settings("saq", middle, 1.0), Settings("saq", high, 0.3),
        *cheap,
    )  # fmt: skip


_BEST: Mapping[str, Mapping[str, Settings]] = {
    "W4A4": {
        "qat": Settings("qat", 0.0003),
        "sam": Settings("sam", 0.001, 0.2),
        "saq": Settings("saq", 0.001, 0.3),
    },
    "W3A3": {
        "qat": Settings("qat", 0.001),
        "sam": Settings("sam", 0.001, 0.05),
        "saq": Settings("saq", 0.001, 1.0),
    },
    "W2A2": {
        "qat": Settings("qat", 0.003),
        "sam": Settings("sam", 0.003, 0.05),
        "saq": Settings("saq", 0.003, 0.3),
    },
}
"""The highest top-1 of the tries."""
CHOSEN: Mapping[str, Mapping[str, Settings]] = {
    widths: {**best, CHEAP: replace(best["saq"], every=5, between="reuse")}
    for widths, best in _BEST.items()
}
"""By widths and method; to use the perturbation again has the highest top-1 at every width."""
PLAIN_RATE = SQWA_RATE = 0.001
"""Of ternary weights: the highest top-1 of three rates each."""
