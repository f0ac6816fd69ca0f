"""Preprocessing: stated, parsed, and equal to what training scripts do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.errors import InputError
from deployq.sources import Preprocessing

BYTES = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3) * 7
X = BYTES.astype(np.float32)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ("x", X),
        ("x/255", X / np.float32(255)),
        ("x / 127.5 - 1", X / np.float32(127.5) - np.float32(1)),
        ("(x-127)/128", (X - np.float32(127)) / np.float32(128)),
        ("x*2+1e-3", X * np.float32(2) + np.float32(1e-3)),
    ],
)
def test_scale_is_what_it_says_to_the_bit(scale: str, expected: np.ndarray) -> None:
    made = Preprocessing(scale, layout="nhwc").normalise(BYTES)
    np.testing.assert_array_equal(made, expected, strict=True)


def test_mean_and_std_follow_scale_and_the_order_of_channels() -> None:
    rgb = (X / np.float32(255) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    made = Preprocessing("x/255", MEAN, STD).normalise(BYTES)
    np.testing.assert_array_equal(made, rgb.transpose(0, 3, 1, 2), strict=True)
    bgr = Preprocessing("x/255", MEAN[::-1], STD[::-1], channels="bgr").normalise(BYTES)
    np.testing.assert_array_equal(bgr, made[:, ::-1])
    assert made.flags.c_contiguous and bgr.flags.c_contiguous


@pytest.mark.parametrize(
    "scale", ["", "y/255", "x/0", "255", "x/255/2", "x//2", "__import__('os')"]
)
def test_other_scales_are_refused(scale: str) -> None:
    with pytest.raises(InputError, match=r"(?s)preprocessing\.scale.*allowed: x, x/255.*next: "):
        Preprocessing(scale)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"mean": (0.5, 0.5)}, r"mean: .*\[0.5, 0.5\].*1 or 3 finite"),
        ({"mean": (float("nan"),)}, "mean: .*nan"),
        ({"std": (1.0, 0.0, 1.0)}, "std: .*above 0"),
        ({"mean": MEAN, "channels": "gray"}, "mean: .*1 or 1 finite"),
        ({"crop": 0}, "crop: .*>= 1"),
        ({"size": (8, -1)}, "size: .*>= 1"),
        ({"size": 8, "resize": 8}, "size: .*resized once"),
    ],
)
def test_values_without_a_meaning_are_refused(facts: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=f"(?s)preprocessing.{text}"):
        Preprocessing("x", **facts)


def test_facts_are_what_was_stated() -> None:
    assert Preprocessing("x/255", MEAN, crop=224).facts() == {
        "scale": "x/255", "mean": list(MEAN), "crop": 224, "interpolation": "bilinear",
        "channels": "rgb", "layout": "nchw",
    }  # fmt: skip
