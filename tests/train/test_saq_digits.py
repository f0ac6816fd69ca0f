"""The example of SAQ, shortened: the loop of one's own trains a network that still tells digits."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from examples import saq_digits
from examples.digits import TRAIN, DigitsNet


@pytest.mark.parametrize("method", [saq_digits.train_sharp, saq_digits.train_plain])
def test_the_example_trains(
    monkeypatch: pytest.MonkeyPatch,
    digits_net: DigitsNet,
    images: Dataset,
    method: Callable[..., PreparedModel],
) -> None:
    monkeypatch.setattr(saq_digits, "EPOCHS", 1)
    x, y = images.inputs["x"], images.labels
    assert y is not None
    before = digits_net.stem.weight.detach().abs()
    net = copy.deepcopy(digits_net)
    prepared = method(net, x[:TRAIN], y[:TRAIN])
    after = prepared.module.get_parameter("stem.weight").detach().abs()  # preparing moves signs
    assert not torch.equal(after, before)
    with torch.no_grad():
        right = prepared.module(torch.from_numpy(x[TRAIN:])).argmax(1).numpy() == y[TRAIN:]
    assert right.mean() > 0.9
