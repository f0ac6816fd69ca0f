"""Settings of each method, chosen once on test images 0 to 1999 with as many tries for each.

``python -m benchmarks.training --choose`` prints what every try gives there.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.trained.loops import Settings

TRIES: Mapping[str, tuple[Settings, ...]] = {
    "qat": tuple(Settings("qat", rate) for rate in (0.003, 0.006, 0.01, 0.02, 0.03, 0.05)),
    "sam": tuple(
        Settings("sam", rate, radius) for rate in (0.01, 0.03) for radius in (0.02, 0.05, 0.1)
    ),
    "saq": tuple(
        Settings("saq", rate, radius) for rate in (0.01, 0.03) for radius in (0.1, 0.3, 1.0)
    ),
}

CHOSEN: Mapping[str, Mapping[str, Settings]] = {
    grid: {
        "qat": Settings("qat", 0.01),
        "sam": Settings("sam", 0.01, 0.05),
        "saq": Settings("saq", 0.01, 0.3),
    }
    for grid in ("W4A4", "W3A3", "W2A2")
}
"""By grid and method."""
