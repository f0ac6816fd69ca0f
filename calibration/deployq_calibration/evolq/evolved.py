"""What a search did, for reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deployq_calibration.evolq.settings import EvolveSettings

PROVENANCE = ("before", "after", "held_back", "held_back_after", "stopped", "settings")


@dataclass(frozen=True)
class Evolved:
    """What a search did.

    Args:
        before, after: fitness of the batches that were searched on; lower is better, never worse.
        held_back: of the batches that were held out, before and after each pass, the
            start of the lattice's search between them where it is another; empty without any.
            Infinite where the target could not run one of them.
        history: fitness after each visit of a block.
        blocks: names, in graph order.
        genes: numbers that were searched.
        evaluations: of the fitness, in part from the middle of the network on.
        stopped: why the search ended before its last pass, if it did.
        unconstrained: fitness that the search of any scales ended with, in the file's real
            arithmetic; None where nothing lies on a lattice, or none was made.
        snapped: fitness of its scales on the lattice; lower than ``before``, it was the start.
        settings: it had.
        held_back_after: of the held-out batches with the scales that the search left, those of the
            pass that they prefer where it had patience; None without any.
    """

    before: float
    after: float
    held_back: tuple[float, ...]
    history: tuple[float, ...]
    blocks: tuple[str, ...]
    genes: int
    evaluations: int
    stopped: str
    settings: EvolveSettings
    held_back_after: float | None = None
    unconstrained: float | None = None
    snapped: float | None = None

    def to_json(self) -> dict[str, object]:
        """Plain data, for reports; None in the place of what is not finite."""
        found = {
            "held_back": [_finite(value) for value in self.held_back],
            "held_back_after": _finite(self.held_back_after),
        }
        return {**vars(self), **found, "settings": self.settings.to_json()}

    def provenance(self) -> dict[str, object]:
        """What the prepared model and a bundle's manifest keep of it."""
        found = self.to_json()
        return {name: found[name] for name in PROVENANCE}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
