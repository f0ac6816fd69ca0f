"""A metric of the user's own: ``module:callable(outputs, inputs, labels) -> float``."""

from __future__ import annotations

import math

import numpy as np

from deployq.errors import InputError
from deployq.user_code import call_user, user_object
from deployq.verifier.metrics.metric import Array, Batch, Metric


def user_metric(reference: str) -> Metric:
    """The metric that a function of the user's computes over all samples at once.

    It gets the outputs and inputs, dicts of name to (N, ...), and the labels or None.

    Raises:
        InputError: no such function.
    """
    function = user_object(reference)
    if not callable(function):
        raise InputError(
            reference,
            "a metric is a function",
            found=type(function).__name__,
            allowed="callable(outputs, inputs, labels) -> float",
            next_step="name the function itself",
        )

    class UserMeter:
        def __init__(self) -> None:
            self.batches: list[Batch] = []

        def add(self, batch: Batch) -> None:
            self.batches.append(batch)

        def values(self) -> dict[str, float]:
            outputs = _joined([dict(batch.outputs) for batch in self.batches])
            inputs = _joined([dict(batch.inputs) for batch in self.batches])
            labels = [batch.labels for batch in self.batches if batch.labels is not None]
            rule = "a metric is callable(outputs, inputs, labels) -> float"
            all_labels = np.concatenate(labels) if labels else None
            value = call_user(reference, rule, function, outputs, inputs, all_labels)
            return {reference: _number(reference, value)}

    return Metric(reference, None, UserMeter, needs_labels=False)


def _joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _number(reference: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # anything may come back
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(
            reference,
            "a metric is one finite number",
            found=f"{type(value).__name__} {str(value)[:60]}",
            next_step="return a float",
        )
    return number
