"""ROC AUC: how often a sample of class 1 scores above one of class 0; 0.5 is chance."""

from __future__ import annotations

import numpy as np

from deployq.errors import InputError
from deployq.verifier.metrics.metric import Array, Batch, Metric, per_sample


class AucMeter:
    """The area under the receiver operating characteristic of a score of each sample.

    The score is the mean squared difference from the input where the first output has the shape of
    the only input (reconstruction error); else the output's one value, or of two classes the second
    less the first.
    """

    def __init__(self) -> None:
        self.scores: list[Array] = []
        self.labels: list[Array] = []

    def add(self, batch: Batch) -> None:
        assert batch.labels is not None
        wrong = [int(label) for label in np.unique(batch.labels) if label not in (0, 1)]
        if wrong or batch.labels.ndim != 1:
            raise _fault(f"{wrong[:4] or batch.labels.shape}", "0 (normal) and 1 (to be found)")
        self.scores.append(_scores(batch))
        self.labels.append(batch.labels)

    def values(self) -> dict[str, float]:
        labels = np.concatenate(self.labels)
        if labels.min() == labels.max():
            raise _fault(f"only {labels[0]}", "both classes, 0 and 1")
        return {"AUC": roc_auc(np.concatenate(self.scores), labels == 1)}


def roc_auc(scores: Array, positive: Array) -> float:
    """Of scores (N,) and which samples are positive (N,): Mann-Whitney's U / (positives negatives).

    U = R - p (p + 1) / 2 with R the sum of the ranks of the p positives, ties at their mean rank.
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    p = int(positive.sum())
    u = ranks[positive].sum() - p * (p + 1) / 2
    return float(u / (p * (len(scores) - p)))


def _scores(batch: Batch) -> Array:
    output, inputs = batch.first, list(batch.inputs.values())
    if len(inputs) == 1 and output.shape == inputs[0].shape:
        gaps = per_sample(output) - per_sample(inputs[0])
        return np.asarray(np.square(gaps).mean(1))
    rows = per_sample(output)
    if rows.shape[1] > 2:
        raise InputError(
            "metric auc",
            "the score is a reconstruction error, one value, or those of two classes",
            found=f"an output of shape {output.shape}",
            allowed="the input's shape, (N,), (N, 1) or (N, 2)",
            next_step="--metric module:callable, with a score of your own",
        )
    return rows[:, 1] - rows[:, 0] if rows.shape[1] == 2 else rows[:, 0]


def _fault(found: str, allowed: str) -> InputError:
    return InputError(
        "labels",
        "auc tells two classes apart",
        found=found,
        allowed=allowed,
        next_step="correct y in the data, or name another --metric",
    )


AUC = Metric("auc", True, AucMeter)
