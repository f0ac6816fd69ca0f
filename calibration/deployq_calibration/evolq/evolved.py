"""What a search did, for reports."""

from __future__ import annotations

from dataclasses import dataclass

from deployq_calibration.evolq.settings import EvolveSettings


@dataclass(frozen=True)
class Evolved:
    """What a search did.

    Args:
        before, after: fitness of the batches that were searched on; lower is better, never worse.
        held_back: of those that only watched, before and after each pass, the
            start of the lattice's search between them where it is another; empty without any.
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

    def to_json(self) -> dict[str, object]:
        """Plain data, for reports and the manifest."""
        return {**vars(self), "settings": self.settings.to_json()}
