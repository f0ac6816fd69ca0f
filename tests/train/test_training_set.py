"""Order and changes of samples are decided by (seed, epoch, sample); labels are held to classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.trainer.augmentation import Draws, augmented
from deployq.trainer.batches import Cut
from deployq.trainer.tables import AugmentationTable
from deployq.trainer.training_set import TrainingSet, check_labels

BOTH = AugmentationTable(flip=True, crop_padding=1)
X = np.arange(12 * 9, dtype=np.float32).reshape(12, 1, 3, 3) + 1


def training_set(seed: int = 0, table: AugmentationTable = BOTH) -> TrainingSet:
    return TrainingSet(Dataset({"x": X}, np.arange(12)), seed, table)


def test_an_epoch_is_decided_by_seed_and_number() -> None:
    first, again = training_set().epoch(3), training_set().epoch(3)
    assert (first.order == again.order).all() and (first.draws.shifts == again.draws.shifts).all()
    assert (first.order != training_set().epoch(4).order).any()
    assert (first.order != training_set(1).epoch(3).order).any()
    assert sorted(first.order) == list(range(12))


def test_changes_do_not_depend_on_how_a_batch_is_cut() -> None:
    data = training_set()
    epoch = data.epoch(0)
    whole = Cut(4, 1, 1).parts_of(data, epoch, 1, 0)[0]
    parts = [part for rank in (0, 1) for part in Cut(4, 2, 2).parts_of(data, epoch, 1, rank)]
    assert [len(labels) for _, labels in parts] == [1] * 4
    assert torch.equal(torch.cat([inputs[0] for inputs, _ in parts]), whole[0][0])
    assert torch.equal(torch.cat([labels for _, labels in parts]), whole[1])


def test_an_epoch_of_whole_parts_for_statistics() -> None:
    data = training_set()
    found = list(Cut(10, 1, 2).inputs(data, data.epoch(0)))
    assert [len(inputs[0]) for inputs in found] == [5, 5]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_flip_and_crop_by_hand(layout: str) -> None:
    image = np.array([[1, 2], [3, 4]], np.float32)
    axes = (0, 1) if layout == "nchw" else (0, 3)
    images = np.expand_dims(np.stack([image, image]), axes[1])
    draws = Draws(np.array([True, False]), np.array([[1, 1], [0, 2]]), 1)
    found = augmented(images, draws, layout).squeeze(axes[1])
    assert found.tolist() == [[[2, 1], [4, 3]], [[0, 0], [2, 0]]]
    assert images.squeeze(axes[1])[0].tolist() == image.tolist()


def test_nothing_changes_by_default() -> None:
    data = training_set(table=AugmentationTable())
    rows = np.array([7, 2])
    inputs, labels = data.batch(rows, data.epoch(0).draws)
    assert torch.equal(inputs[0], torch.from_numpy(X[rows])) and labels.tolist() == [7, 2]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, "without labels"),
        (np.zeros((12, 2), np.int64), r"labels of shape \(12, 2\)"),
        (np.arange(12), r"found: 4 at sample 4.*0\.\.3"),
    ],
)
def test_labels_that_are_refused(labels: np.ndarray | None, expected: str) -> None:
    with pytest.raises(InputError, match=f"(?s)train.npz: .*{expected}"):
        check_labels("train.npz", Dataset({"x": X}, labels), 4)
    check_labels("train.npz", Dataset({"x": X}, np.arange(12) % 4), 4)
