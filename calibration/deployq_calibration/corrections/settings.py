"""What a correction is told and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Batches: TypeAlias = Callable[[], Iterable[Sequence[Tensor]]]
"""Starts one pass over the data: batches, each with one tensor an input."""

Advance: TypeAlias = Callable[[str], None]

FIGURES = 4
"""Significant digits of a reported figure."""


@dataclass(frozen=True)
class CorrectionSettings:
    """How the corrections work.

    Args:
        samples: of the calibration data that are looked at, at most; the first ones.
        iterations: optimizer steps for each block of learned rounding, and of tuning.
        batch: samples of one step, at most.
        least_batch: and at least.
        step_values: of the widest tensor in one step: large maps give as much to learn from with
            fewer samples.
        seed: of the choice of samples.
        rounding_below: learned rounding and tuning take weights of fewer bits than this.
        learning_rate: of the soft codes, where a unit is the whole way from floor to ceiling.
        scale_rate: of the factors on the weight scales, and of the shifts that tuning learns, in
            parts of what the layer puts out; 0 leaves the scales.
        smoothing: the share of a channel's range that smoothing moves into weights (alpha), 0 to 1.
        smoothing_powers: its factors are powers of two.
    """

    samples: int = 1024
    iterations: int = 500
    batch: int = 32
    least_batch: int = 4
    step_values: int = 1 << 20
    seed: int = 0
    rounding_below: int = 8
    learning_rate: float = 3e-2
    scale_rate: float = 1e-3
    smoothing: float = 0.5
    smoothing_powers: bool = False

    def batch_of(self, widest: int) -> int:
        """Samples of one step in a block whose largest tensor has so many values a sample."""
        return min(self.batch, max(self.least_batch, self.step_values // widest))


@dataclass(frozen=True)
class Change:
    """What a correction did to one layer, pair or block.

    Args:
        correction: its name.
        name: of the layer, pair or block.
        before, after: the figure that the correction makes smaller.
        figure: what that figure is.
        skipped: why nothing was done; empty when it was.
    """

    correction: str
    name: str
    before: float = 0.0
    after: float = 0.0
    figure: str = ""
    skipped: str = ""

    def to_json(self) -> dict[str, object]:
        """For the manifest: only what says something."""
        facts: dict[str, object] = {"correction": self.correction, "name": self.name}
        if self.skipped:
            return facts | {"skipped": self.skipped}
        before, after = (float(f"{x:.{FIGURES}g}") for x in (self.before, self.after))
        return facts | {"figure": self.figure, "before": before, "after": after}
