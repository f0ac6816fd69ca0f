"""Top-1: the share of samples whose best class is the label."""

from __future__ import annotations

from deployq.errors import InputError
from deployq.verifier.metrics.metric import Array, Batch, Metric


class Top1Meter:
    """In [0, 1], of the first output, (N, classes). A tie goes to the first of the best classes."""

    def __init__(self) -> None:
        self.right = self.seen = 0

    def add(self, batch: Batch) -> None:
        assert batch.labels is not None
        _check_labels(batch.labels, batch.first)
        self.right += int((batch.first.argmax(1) == batch.labels).sum())
        self.seen += len(batch.labels)

    def values(self) -> dict[str, float]:
        return {"top-1": self.right / max(self.seen, 1)}


def _check_labels(labels: Array, scores: Array) -> None:
    classes = scores.shape[1] if scores.ndim == 2 and labels.ndim == 1 else 0
    if classes < 2 or labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            "labels",
            "labels are class numbers of the first output, (N, classes)",
            found=f"{labels.min()}..{labels.max()} for an output of shape {scores.shape}",
            allowed=f"0..{classes - 1}" if classes else "no labels for this network",
            next_step="correct y in the data, leave it out, or name another --metric",
        )


TOP1 = Metric("top-1", True, Top1Meter)
