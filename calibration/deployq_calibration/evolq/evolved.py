"""What a search did, for reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deployq_calibration.evolq.settings import EvolveSettings

PROVENANCE = ("before", "after", "held_back", "stopped", "settings")


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
    unconstrained: float | None = None
    snapped: float | None = None

    @property
    def held_back_after(self) -> float | None:
        """Of the held-out batches with the scales that the search left, those of its best pass
        where it had patience; None without any.
        """
        if not self.held_back:
            return None
        return min(self.held_back) if self.settings.patience else self.held_back[-1]

    def to_json(self) -> dict[str, object]:
        """Plain data, for reports; None in the place of what is not finite."""
        held_back = [value if math.isfinite(value) else None for value in self.held_back]
        return {**vars(self), "held_back": held_back, "settings": self.settings.to_json()}

    def provenance(self) -> dict[str, object]:
        """What the prepared model and a bundle's manifest keep of it."""
        found = self.to_json()
        return {name: found[name] for name in PROVENANCE}
