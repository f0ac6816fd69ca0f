"""Samples as batches of tensors, and the mean loss over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from deployq.data import Dataset, check_dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel

BATCH = 128
"""Samples that run at once."""

Loss: TypeAlias = Callable[[Any, Tensor], Tensor]
"""Of the network's output and labels (N,): the mean over the samples, a scalar."""


@dataclass(frozen=True)
class Batch:
    """One batch on the network's device.

    Args:
        inputs: a tensor for each input.
        labels: class numbers, int64 (N,).
    """

    inputs: Sequence[Tensor]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def labelled_batches(
    where: str, prepared: PreparedModel, data: Dataset, samples: int | None
) -> list[Batch]:
    """The first samples, or all of them, with their labels.

    Raises:
        InputError: data that does not fit the network, or has no labels.
    """
    if data.labels is None:
        raise InputError(
            where,
            "a loss needs labels",
            found="data without labels",
            allowed="an array y, class folders of images, or a labels file",
            next_step="add labels",
        )
    found, device = [], _device(prepared)
    for batch, inputs in _batches(prepared, data, samples):
        labels = torch.from_numpy(np.array(batch.labels)).long().to(device)
        found.append(Batch(inputs, labels))
    return found


def input_batches(
    prepared: PreparedModel, data: Dataset, samples: int | None
) -> list[Sequence[Tensor]]:
    """The inputs of the first samples, or of all; a last batch of one sample is left out.

    Raises:
        InputError: data that does not fit the network.
    """
    found = [inputs for _, inputs in _batches(prepared, data, samples)]
    return [inputs for inputs in found if len(inputs[0]) > 1]


def _batches(
    prepared: PreparedModel, data: Dataset, samples: int | None
) -> Iterator[tuple[Dataset, list[Tensor]]]:
    check_dataset(prepared.inputs, data, prepared.input_dtypes())
    device = _device(prepared)
    count = len(data) if samples is None else min(samples, len(data))
    for batch in data.take(count).batches(BATCH):
        arrays = [np.array(batch.inputs[name]) for name in prepared.inputs]
        yield batch, [torch.from_numpy(array).to(device) for array in arrays]


def _device(prepared: PreparedModel) -> torch.device:
    return next(prepared.module.parameters()).device


def class_loss(output: Any, labels: Tensor) -> Tensor:
    """Cross-entropy of the first output, (N, classes).

    Raises:
        InputError: an output of another rank, or labels that are no classes of it.
    """
    scores = pytree.tree_leaves(output)[0]
    fits = scores.ndim == 2 and labels.shape == scores.shape[:1]
    if not fits or int(labels.max()) >= scores.shape[1]:
        raise InputError(
            "labels",
            "cross-entropy takes scores (N, classes) and class numbers (N,)",
            found=f"output {tuple(scores.shape)}, labels {tuple(labels.shape)} up to "
            f"{int(labels.max())}",
            next_step="give class numbers as y; in Python, loss= takes one of your own",
        )
    return functional.cross_entropy(scores.float(), labels)


@torch.no_grad()
def mean_loss(module: nn.Module, batches: Sequence[Batch], loss: Loss) -> float:
    """Mean over all samples, in the mode that the network is in."""
    total = sum(len(batch) * float(loss(module(*batch.inputs), batch.labels)) for batch in batches)
    return total / sum(len(batch) for batch in batches)
