"""What a network is judged by, as one row a unit so that units can be drawn again.

A unit is what was sampled independently: an image, a clip. ``rows`` are (units, k); ``statistic``
maps any selection of them to one figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from deployq.data import Dataset

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.float64]
Outputs = Sequence[Array]


class Metric(Protocol):
    """A figure of merit."""

    @property
    def name(self) -> str:
        """With its unit."""

    @property
    def higher_is_better(self) -> bool:
        """False for an error."""

    def rows(self, outputs: Outputs, floats: Outputs, data: Dataset) -> Rows:
        """One row a unit, from a contender's outputs and the float network's."""

    def statistic(self, rows: Rows) -> float:
        """The figure of these units."""


@dataclass(frozen=True)
class Top1:
    """Percent of samples whose best class is the label; a tie goes to the first."""

    name: str = "top-1 %"
    higher_is_better: bool = True

    def rows(self, outputs: Outputs, floats: Outputs, data: Dataset) -> Rows:
        assert data.labels is not None
        right = outputs[0].argmax(1) == data.labels
        return right.astype(np.float64)[:, None]

    def statistic(self, rows: Rows) -> float:
        return 100 * float(rows[:, 0].mean())


@dataclass(frozen=True)
class ClipAuc:
    """Area under the ROC curve of a clip's mean squared reconstruction error, in percent.

    As the Mann-Whitney statistic: the share of (anomalous, normal) pairs in the right order, a tie
    for half. (A bootstrap asks tens of thousands of times.)

    Args:
        windows: samples of one clip, one after the other; they share its label.
    """

    windows: int
    name: str = "ROC AUC %"
    higher_is_better: bool = True

    def rows(self, outputs: Outputs, floats: Outputs, data: Dataset) -> Rows:
        assert data.labels is not None
        inputs = next(iter(data.inputs.values()))
        errors = ((outputs[0].astype(np.float64) - inputs) ** 2).mean(1)
        labels = data.labels[:: self.windows]
        return np.stack([errors.reshape(-1, self.windows).mean(1), labels], 1)

    def statistic(self, rows: Rows) -> float:
        anomalous, normal = rows[rows[:, 1] == 1, :1], rows[rows[:, 1] == 0, 0]
        return 100 * float(((anomalous > normal) + 0.5 * (anomalous == normal)).mean())


@dataclass(frozen=True)
class RelativeError:
    """Root mean square of the difference to the float outputs over theirs, in percent, a sample."""

    name: str = "output difference %"
    higher_is_better: bool = False

    def rows(self, outputs: Outputs, floats: Outputs, data: Dataset) -> Rows:
        difference = sum(_squares(a - b) for a, b in zip(outputs, floats, strict=True))
        return np.sqrt(difference / sum(_squares(b) for b in floats))[:, None]

    def statistic(self, rows: Rows) -> float:
        return 100 * float(rows[:, 0].mean())


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean negative log-likelihood of the next id; a unit is a text.

    Labels are the ids (N, T), below 0 where a text has ended; outputs are logits (N, T, V).
    """

    name: str = "perplexity"
    higher_is_better: bool = False

    def rows(self, outputs: Outputs, floats: Outputs, data: Dataset) -> Rows:
        assert data.labels is not None
        logits, targets = outputs[0][:, :-1].astype(np.float64), data.labels[:, 1:]
        logits = logits - logits.max(-1, keepdims=True)
        likely = np.take_along_axis(logits, np.maximum(targets, 0)[..., None], -1)[..., 0]
        nats = np.where(targets >= 0, np.log(np.exp(logits).sum(-1)) - likely, 0)
        return np.stack([nats.sum(1), (targets >= 0).sum(1)], 1)

    def statistic(self, rows: Rows) -> float:
        return float(np.exp(rows[:, 0].sum() / rows[:, 1].sum()))


def _squares(array: Array) -> Rows:
    """The sum of squares of each sample."""
    flat: Rows = array.reshape(len(array), -1).astype(np.float64)
    return (flat**2).sum(1)
