"""Where a run is: everything that is no tensor and that a resumed run goes on from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Score:
    """What an evaluation found.

    Args:
        loss: mean cross-entropy.
        accuracy: share of samples whose highest score is their label.
    """

    loss: float
    accuracy: float

    def beats(self, other: Score) -> bool:
        """Higher accuracy, or the same with a lower loss."""
        return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


@dataclass(frozen=True)
class Best:
    """The judged epoch with the best validation score, the earliest of equals."""

    epoch: int
    score: Score


@dataclass
class Position:
    """Counts of a run.

    Args:
        phase: index of the phase.
        phase_epochs: whole epochs of that phase.
        steps: optimizer steps of the epoch that is under way.
        epochs: whole epochs of all phases.
        taken: optimizer steps of all.
        sums: loss times samples, right answers and samples of this epoch, over all processes.
        lines: of the log.
        best: None until an epoch was judged.
    """

    phase: int = 0
    phase_epochs: int = 0
    steps: int = 0
    epochs: int = 0
    taken: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    lines: int = 0
    best: Best | None = None

    @property
    def score(self) -> Score:
        """Of the steps of this epoch so far, of which there is at least one."""
        return Score(self.sums[0] / self.sums[2], self.sums[1] / self.sums[2])

    def step_taken(self, sums: list[float]) -> None:
        """Count an optimizer step."""
        self.steps += 1
        self.taken += 1
        self.sums = [old + new for old, new in zip(self.sums, sums, strict=True)]

    def epoch_ended(self) -> None:
        """Count an epoch and begin the next."""
        self.steps, self.sums = 0, [0.0, 0.0, 0.0]
        self.epochs += 1
        self.phase_epochs += 1

    def phase_ended(self) -> None:
        """Begin the next phase."""
        self.phase += 1
        self.phase_epochs = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Position:
        """Inverse of :meth:`to_json`."""
        best = facts["best"]
        found = None if best is None else Best(best["epoch"], Score(**best["score"]))
        return cls(**{**facts, "best": found})
