"""What the batches say that a search never sees: fitness after each pass, and the pass to keep."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class HeldOut:
    """Held-out batches over a search.

    Args:
        fitness: of all of them, of the start and after each pass, and of a second start between
            where there is one; infinite where the target could not run it; empty without any.
        best: place of the one to keep.
        losses: of each batch, of that one.
    """

    fitness: tuple[float, ...]
    best: int
    losses: tuple[float, ...]

    @classmethod
    def start(cls, losses: Sequence[float]) -> HeldOut:
        """Of the network as it is."""
        return cls((mean(losses),) if losses else (), 0, tuple(losses))

    def after(self, losses: Sequence[float], margin: float) -> HeldOut:
        """With what one more network made of the batches; of equals the earlier one is kept.

        Args:
            margin: see ``EvolveSettings``.
        """
        if not losses:
            return self
        fitness = (*self.fitness, mean(losses))
        if is_better(losses, self.losses, margin):
            return HeldOut(fitness, len(fitness) - 1, tuple(losses))
        return HeldOut(fitness, self.best, self.losses)

    @property
    def since(self) -> int:
        """Entries behind the one to keep."""
        return max(len(self.fitness) - 1, 0) - self.best


def is_better(losses: Sequence[float], than: Sequence[float], margin: float) -> bool:
    """True where losses are lower by more than so many standard errors of the batches' differences.

    Args:
        losses, than: of the same batches, at least two where the margin is above 0.
    """
    gain = mean(than) - mean(losses)
    if not gain > 0 or not math.isfinite(gain) or not margin:
        return gain > 0
    apart = [old - new for old, new in zip(than, losses, strict=True)]
    return gain > margin * statistics.stdev(apart) / math.sqrt(len(apart))


def mean(losses: Sequence[float]) -> float:
    """In the order of the batches, so that the number of ranks changes nothing."""
    return math.fsum(losses) / len(losses)
