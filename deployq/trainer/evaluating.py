"""Loss and accuracy of the fake-quant network over a data set."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from deployq.graph.modes import evaluation_mode
from deployq.trainer.batch import Stepping
from deployq.trainer.position import Score
from deployq.trainer.training_set import TrainingSet


def evaluate(stepping: Stepping, data: TrainingSet, batch: int) -> Score:
    """Mean cross-entropy and top-1 in evaluation mode, each process over its share.

    Args:
        stepping: of the phase; the mode of its network is put back.
        data: all of it is evaluated, as it is.
        batch: samples at a time.
    """
    ranks, sums = stepping.ranks, [0.0, 0.0, 0.0]
    ranks.same_buffers(stepping.network)
    chunks = np.split(np.arange(len(data)), range(batch, len(data), batch))
    with evaluation_mode(stepping.network), torch.no_grad():
        for rows in chunks[ranks.rank :: ranks.count]:
            inputs, labels = stepping.moved(data.batch(rows, None))
            scores = stepping.forward(stepping.network, inputs)
            loss = functional.cross_entropy(scores, labels, reduction="sum")
            right = float((scores.argmax(1) == labels).sum())
            sums = [sums[0] + float(loss), sums[1] + right, sums[2] + len(rows)]
    loss_sum, right_sum, count = ranks.total(sums)
    return Score(loss_sum / count, right_sum / count)
