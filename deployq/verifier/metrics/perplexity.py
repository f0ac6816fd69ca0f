"""Perplexity: exp of the mean negative log-likelihood of the next token; 1 is certainty."""

from __future__ import annotations

import numpy as np

from deployq.errors import InputError
from deployq.verifier.metrics.metric import Array, Batch, Metric


class PerplexityMeter:
    """Of logits (N, T, V), the first output: position t predicts the id at t + 1.

    The ids (N, T) are the labels where there are some, else the only input of integers. An id below
    0 is padding and does not count.
    """

    def __init__(self) -> None:
        self.loss = 0.0
        self.tokens = 0

    def add(self, batch: Batch) -> None:
        logits, ids = batch.first, _ids(batch)
        vocabulary = logits.shape[-1] if logits.ndim == 3 else 0
        if logits.shape[:2] != ids.shape or ids.max() >= vocabulary:
            raise InputError(
                "metric perplexity",
                "logits are (N, T, V) for ids (N, T) below V",
                found=f"logits {logits.shape}, ids {ids.shape} up to {ids.max()}",
                next_step="give the ids as y, or name another --metric",
            )
        targets = ids[:, 1:]
        counted = targets >= 0
        scores = logits[:, :-1][counted].astype(np.float64)
        scores -= scores.max(1, keepdims=True)
        likely = scores[np.arange(len(scores)), targets[counted]]
        self.loss += float((np.log(np.exp(scores).sum(1)) - likely).sum())
        self.tokens += len(scores)

    def values(self) -> dict[str, float]:
        if not self.tokens:
            raise InputError(
                "metric perplexity",
                "there are tokens to predict",
                found="every id after the first is below 0",
                next_step="correct y in the data",
            )
        mean = self.loss / self.tokens
        return {"perplexity": float(np.exp(min(mean, 700.0))), "nats a token": mean}


def _ids(batch: Batch) -> Array:
    if batch.labels is not None:
        return batch.labels
    integers = [array for array in batch.inputs.values() if array.dtype.kind in "iu"]
    if len(integers) != 1:
        raise InputError(
            "metric perplexity",
            "the ids are y, or the only input of integers",
            found=f"no y, and {len(integers)} inputs of integers",
            next_step="give the ids (N, T) as y",
        )
    return integers[0]


PERPLEXITY = Metric("perplexity", False, PerplexityMeter, needs_labels=False)
