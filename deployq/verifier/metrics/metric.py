"""What a metric is: a name, a direction, and a meter that batches are fed to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """One batch as one evaluator computed it.

    Args:
        inputs: as the model takes them, by name.
        labels: None where the data has none.
        outputs: real values, by the name of the output, in the model's order.
        floats: the outputs of the float network, quantizers off.
    """

    inputs: Mapping[str, Array]
    labels: Array | None
    outputs: Mapping[str, Array]
    floats: Mapping[str, Array]

    @property
    def first(self) -> Array:
        """The first output."""
        return next(iter(self.outputs.values()))


class Meter(Protocol):
    """Adds up one evaluator's batches."""

    def add(self, batch: Batch) -> None:
        """Count one batch.

        Raises:
            InputError: labels or outputs that the metric cannot take.
        """

    def values(self) -> dict[str, float]:
        """The metric's value first, then further figures, by what they are called."""


@dataclass(frozen=True)
class Metric:
    """A way to judge outputs.

    Args:
        name: as ``--metric`` names it.
        higher_is_better: None where only the user knows.
        start: a fresh meter.
        needs_labels: True when data without labels cannot be judged.
        against_float: True when it compares with the float network, which is then no evaluator.
    """

    name: str
    higher_is_better: bool | None
    start: Callable[[], Meter]
    needs_labels: bool = True
    against_float: bool = False


@dataclass(frozen=True)
class Measured:
    """What a metric found.

    Args:
        name, higher_is_better: of the metric.
        values: by evaluator.
        details: further figures, by evaluator and what they are called.
    """

    name: str = "top-1"
    higher_is_better: bool | None = True
    values: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def per_sample(values: Array) -> Array:
    """(N, ...) to (N, rest)."""
    return np.asarray(values, np.float64).reshape(len(values), -1)
