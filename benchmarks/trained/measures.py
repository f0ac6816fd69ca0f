"""What a trained network is worth on images that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.part import Facts
from benchmarks.statistics import Rows
from benchmarks.trained.images import Images
from deployq.graph.modes import evaluation_mode

BATCH = 250


@dataclass(frozen=True)
class Worth:
    """Top-1 in percent, and mean cross-entropy."""

    top1: float
    loss: float


@torch.no_grad()
def worth(module: nn.Module, images: Images) -> Worth:
    """Of a network over all images, in evaluation mode."""
    right, total = 0, 0.0
    with evaluation_mode(module):
        for x, y in zip(images.x.split(BATCH), images.y.split(BATCH), strict=True):
            scores = module(x)
            right += int((scores.argmax(1) == y).sum())
            total += float(functional.cross_entropy(scores, y, reduction="sum"))
    return Worth(100 * right / len(images.y), total / len(images.y))


def spread(values: Rows, digits: int) -> str:
    """``mean (least to greatest)`` of a few seeds."""
    low, high = values.min(), values.max()
    return f"{values.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def compared(worths: Sequence[Worth], base: Sequence[Worth]) -> Facts:
    """Each seed of a method, and what it is over the same seed of another."""
    pairs = list(zip(worths, base, strict=True))
    return {
        "top1": [w.top1 for w in worths], "loss": [w.loss for w in worths],
        "top1_over": [w.top1 - b.top1 for w, b in pairs],
        "loss_over": [w.loss - b.loss for w, b in pairs],
    }  # fmt: skip


def texts(facts: Facts) -> tuple[str, ...]:
    """Number of seeds, and the spread of each column of :func:`compared`."""
    digits = {"top1": 2, "loss": 3, "top1_over": 2, "loss_over": 3}
    spreads = (spread(np.array(facts[name], np.float64), n) for name, n in digits.items())
    return (str(len(facts["top1"])), *spreads)
