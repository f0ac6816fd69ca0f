"""The sensitivity of a prepared model on a dataset, and its facts for the manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from deployq.data import Dataset, check_dataset
from deployq.graph.preparation import PreparedModel
from deployq_calibration.sensitivity import Cost, Labelled, Sensitivity, rank_sensitivity
from deployq_calibration.sensitivity_advice import advice

SENSITIVITY = "sensitivity"
"""The fact of a manifest that holds the ranking."""

MOST_SAMPLES = 64
"""Costs are measured on the first so many calibration samples; top-1 then has steps of 1/64."""

BATCH = 32


def measure_sensitivity(
    prepared: PreparedModel,
    data: Dataset,
    *,
    progress: Callable[[str], None] = lambda stage: None,
) -> Sensitivity:
    """Rank weights and activation grids by what quantizing each of them alone costs.

    Args:
        prepared: calibrated or trained.
        data: the first :data:`MOST_SAMPLES` samples are looked at.
        progress: told of each evaluation.

    Raises:
        InputError: data that does not fit, a quantizer that is not calibrated, or outputs that are
            not finite.
    """
    check_dataset(prepared.inputs, data, prepared.input_dtypes())

    def batches() -> Iterator[Labelled]:
        for batch in data.take(min(MOST_SAMPLES, len(data))).batches(BATCH):
            labels = None if batch.labels is None else torch.from_numpy(np.array(batch.labels))
            yield (
                [torch.from_numpy(np.array(batch.inputs[name])) for name in prepared.inputs],
                labels,
            )

    return rank_sensitivity(prepared, batches(), progress=progress)


def sensitivity_facts(prepared: PreparedModel, found: Sensitivity) -> dict[str, Any]:
    """Plain data: the ranking, dB to two digits, and the next steps."""
    return {
        "samples": found.samples,
        "most_samples": MOST_SAMPLES,
        "float_top1": found.float_top1,
        "ranking": [_row(rank, cost) for rank, cost in enumerate(found.costs, 1)],
        "next": list(advice(prepared, found)),
    }


def _row(rank: int, cost: Cost) -> dict[str, Any]:
    """JSON has no infinity: ``sqnr_db`` is None where it is one, and ``equal`` says which."""
    return {
        "rank": rank,
        "name": cost.name,
        "kind": cost.kind,
        "bits": cost.bits,
        "sqnr_db": round(cost.sqnr_db, 2) if math.isfinite(cost.sqnr_db) else None,
        "equal": cost.sqnr_db == math.inf,
        "top1_change": cost.top1_change,
    }
