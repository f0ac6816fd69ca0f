"""Training samples as batches of tensors, in an order and with changes that only numbers decide.

Everything random is drawn by (seed, epoch) for all samples at once, so that a sample's place and
its changes depend neither on the number of processes nor on where a run was resumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deployq.columns import Columns
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.trainer.augmentation import Draws, augmented
from deployq.trainer.tables import AugmentationTable

Indices = npt.NDArray[np.int64]
_ORDER, _CHANGES = 0, 1


@dataclass(frozen=True, eq=False)
class Epoch:
    """What chance decides of an epoch.

    Args:
        order: (N,) samples in the order that they are taken.
        draws: what changes each of the N samples.
    """

    order: Indices
    draws: Draws


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """N samples with class labels.

    Args:
        data: with labels (N,).
        seed: of order and changes.
        augmentation: changes of images.
        layout: of images, ``nchw`` or ``nhwc``.
    """

    data: Dataset
    seed: int
    augmentation: AugmentationTable
    layout: str = "nchw"

    def __len__(self) -> int:
        return len(self.data)

    def epoch(self, number: int) -> Epoch:
        """Order and changes of all samples in an epoch, counted from 0."""
        order = np.random.default_rng((self.seed, number, _ORDER)).permutation(len(self))
        generator = np.random.default_rng((self.seed, number, _CHANGES))
        return Epoch(order, Draws.of(self.augmentation, generator, len(self)))

    def batch(self, rows: Indices, draws: Draws | None) -> tuple[list[Tensor], Tensor]:
        """Inputs, in the order of the model's, and labels (n,) of some samples.

        Args:
            rows: (n,) indices of samples.
            draws: of the epoch; None leaves the samples as they are.
        """
        inputs = []
        for array in Columns(self.data.inputs).pick(rows).values():
            if draws is not None and array.ndim == 4 and array.dtype.kind == "f":
                array = augmented(array, draws.rows(rows), self.layout)
            inputs.append(torch.from_numpy(array))
        assert self.data.labels is not None
        return inputs, torch.from_numpy(self.data.labels[rows].astype(np.int64))


def check_labels(where: str, data: Dataset, classes: int) -> None:
    """Refuse data that classes cannot be learned from.

    Args:
        where: the data, for errors.
        classes: scores that the model gives a sample.

    Raises:
        InputError: no labels, sequences, or a label that the model has no score for.
    """
    if data.labels is None:
        raise InputError(
            where,
            "training and its validation compare with labels",
            found="data without labels",
            allowed="an array y, class folders of images, or a labels file",
            next_step="add labels",
        )
    if data.labels.ndim != 1:
        raise InputError(
            where,
            "the recipe trains on one class for each sample",
            found=f"labels of shape {data.labels.shape}",
            allowed="(N,)",
            next_step="write a loop of your own around prepared.module",
        )
    wrong = np.flatnonzero(data.labels >= classes)
    if len(wrong):
        raise InputError(
            where,
            "each label is a class that the model has a score for",
            found=f"{data.labels[wrong[0]]} at sample {wrong[0]}",
            allowed=f"0..{classes - 1}",
            next_step="correct the labels, or give the model more outputs",
        )
