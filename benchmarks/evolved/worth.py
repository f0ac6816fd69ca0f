"""What quantized scores are worth: how far from the float network's, and how often right."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.part import Facts
from benchmarks.statistics import Interval, Rows, paired_difference

Scores = npt.NDArray[np.float32]


def rows_of(scores: Scores, floats: Scores, labels: npt.NDArray[np.int64]) -> Rows:
    """(N, 2): divergence in nats, ``KL(float softmax || quantized softmax)``, and 100 where the
    best class is the label, else 0.
    """
    wanted, found = (
        torch.log_softmax(torch.from_numpy(x).double(), 1).numpy() for x in (floats, scores)
    )
    divergence = (np.exp(wanted) * (wanted - found)).sum(1)
    return np.stack([divergence, 100.0 * (scores.argmax(1) == labels)], 1)


@dataclass(frozen=True)
class Gain:
    """What one network has over another on the same images, with 95 % intervals.

    Args:
        divergence: in nats; below zero is better.
        top1: in points; above zero is better.
    """

    divergence: Interval
    top1: Interval

    @classmethod
    def of(cls, rows: Rows, base: Rows) -> Gain:
        """Both (N, 2), the same images in the same order."""
        first, second = (
            paired_difference(lambda r: float(r[:, 0].mean()), rows[:, [k]], base[:, [k]])
            for k in (0, 1)
        )
        return cls(first, second)

    def texts(self) -> tuple[str, str]:
        """For a table."""
        return self.divergence.text(4), self.top1.text(2)

    def facts(self) -> Facts:
        """For the line of JSON."""
        return {"divergence": asdict(self.divergence), "top1": asdict(self.top1)}


def means(rows: Rows) -> tuple[str, str]:
    """Divergence and top-1 of all images, for a table."""
    return f"{rows[:, 0].mean():.4f}", f"{rows[:, 1].mean():.2f}"
