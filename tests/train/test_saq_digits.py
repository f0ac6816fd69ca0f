"""The example of SAQ, shortened: the loop of one's own trains a network that still tells digits."""

from __future__ import annotations

import pytest
import torch

from deployq.data import Dataset
from examples import saq_digits
from examples.digits import TRAIN, DigitsNet


def test_the_example_trains(
    monkeypatch: pytest.MonkeyPatch, digits_net: DigitsNet, images: Dataset
) -> None:
    monkeypatch.setattr(saq_digits, "EPOCHS", 1)
    monkeypatch.setattr(saq_digits, "train", lambda images, labels: digits_net)
    x, y = images.inputs["x"], images.labels
    assert y is not None
    before = digits_net.stem.weight.detach().abs()
    prepared = saq_digits.train_sharp(x[:TRAIN], y[:TRAIN])
    after = prepared.module.get_parameter("stem.weight").detach().abs()  # preparing moves signs
    assert not torch.equal(after, before)
    with torch.no_grad():
        right = prepared.module(torch.from_numpy(x[TRAIN:])).argmax(1).numpy() == y[TRAIN:]
    assert right.mean() > 0.9
