"""The example of Evol-Q: its search comes nearer to the float network, on unseen digits too."""

from __future__ import annotations

from deployq.data import Dataset
from examples import evolq_digits
from examples.digits import TRAIN


def test_the_example_comes_nearer(images: Dataset) -> None:
    x, y = images.inputs["x"], images.labels
    assert y is not None
    model = evolq_digits.train_vit(x[:TRAIN], y[:TRAIN])
    prepared = evolq_digits.calibrated(model, x[:TRAIN])
    before = evolq_digits.divergence(prepared.module.eval(), model, x[TRAIN:])
    found = evolq_digits.search(prepared, x[:TRAIN], model)
    assert found.after < found.before and found.held_back[-1] < found.held_back[0]
    assert evolq_digits.divergence(prepared.module, model, x[TRAIN:]) < before
