"""The example of SQWA, shortened: each stage learns, and the average needs one bit more."""

from __future__ import annotations

import pytest

from deployq.data import Dataset
from examples import sqwa_digits
from examples.digits import TRAIN, DigitsNet


def test_the_example_goes_through_its_stages(
    monkeypatch: pytest.MonkeyPatch, digits_net: DigitsNet, images: Dataset
) -> None:
    for name in ("SETTLE_EPOCHS", "CYCLE_EPOCHS", "FINE_EPOCHS"):
        monkeypatch.setattr(sqwa_digits, name, 1)
    monkeypatch.setattr(sqwa_digits, "CAPTURES", 3)
    x, y = images.inputs["x"], images.labels
    assert y is not None
    right, widths = {}, {}
    for stage, prepared in sqwa_digits.stages(digits_net, x[:TRAIN], y[:TRAIN]):
        right[stage] = sqwa_digits.top1(prepared, x[TRAIN:], y[TRAIN:])
        widths[stage] = sorted({layer.bits for layer in prepared.plan.layers})
    captures = [f"capture-{count}" for count in (1, 2, 3)]
    names = ["direct", "settled", *captures, "average", "requantized", "fine-tuned"]
    assert list(right) == names
    assert right["direct"] + 10 < right["settled"] < right["average"] - 5
    assert min(right["requantized"], right["fine-tuned"]) > 75
    assert widths["average"] == [3] and widths["fine-tuned"] == [2]
