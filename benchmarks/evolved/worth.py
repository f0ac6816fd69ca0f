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

    Args:
        scores, floats: (N, K); or (N, T, K) of texts, a row of which is the mean over its tokens.
        labels: (N,); or the ids (N, T) of the texts, each scored by the token before it, below 0
            where a text has ended.
    """
    if scores.ndim == 2:
        scores, floats, labels = scores[:, None], floats[:, None], labels[:, None]
    else:
        scores, floats, labels = scores[:, :-1], floats[:, :-1], labels[:, 1:]
    wanted, found = (
        torch.log_softmax(torch.from_numpy(x).double(), -1).numpy() for x in (floats, scores)
    )
    divergence = (np.exp(wanted) * (wanted - found)).sum(-1)
    tokens = np.stack([divergence, 100.0 * (scores.argmax(-1) == labels)], 2)
    counts = labels >= 0
    return (tokens * counts[..., None]).sum(1) / counts.sum(1)[:, None]


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
