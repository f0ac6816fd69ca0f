"""When the byte of a pixel is its code: tried on all 256 bytes, refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq import affine
from deployq.qtypes import QType
from deployq.sources.pixel_grid import PixelGrid, mismatches, pixel_grid
from deployq.sources.preprocessing import Preprocessing

U8, S8 = QType(8, False), QType(8, True)
IMAGE = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)


@pytest.mark.parametrize(
    ("scale", "mean", "std", "zero_point", "step"),
    [
        ("x", (), (), 0, 1.0),
        ("x/255", (), (), 0, 1 / 255),
        ("x/256", (0.5,), (), 128, 1 / 256),
        ("x/255", (0.4,), (0.2,), 102, 1 / 51),
        ("x-128", (), (), 128, 1.0),
        ("(x-127)/128", (), (), 127, 1 / 128),
        ("x*0.5", (10.0, 10.0, 10.0), (2.0, 2.0, 2.0), 20, 0.25),
    ],
)
@pytest.mark.parametrize("qtype", [U8, S8], ids=str)
def test_every_pixel_is_its_code(
    scale: str, mean: tuple[float, ...], std: tuple[float, ...], zero_point: int, step: float,
    qtype: QType,
) -> None:  # fmt: skip
    preprocessing = Preprocessing(scale, mean, std)
    grid = pixel_grid(preprocessing)
    assert grid == PixelGrid(float(np.float32(step)), zero_point)
    codes = affine.quantize(preprocessing.normalise(IMAGE), grid.qparams(qtype))
    pixels = IMAGE.transpose(0, 3, 1, 2).astype(np.int64)
    np.testing.assert_array_equal(codes.astype(np.int64), pixels + qtype.qmin)


@pytest.mark.parametrize(
    ("preprocessing", "reason"),
    [
        (Preprocessing("x/127.5-1"), "0.0 is at pixel 127.5, which is no code of 0..255"),
        (Preprocessing("x/255", (0.5,), (0.5,)), "0.0 is at pixel 127.5"),
        (Preprocessing("x/255", (0.1307,), (0.3081,)), "0.0 is at pixel 33.3285"),
        (Preprocessing("x/255", (0.485, 0.456, 0.406), (0.2,)), "differs by channel"),
        (Preprocessing("x", (), (1.0, 1.0, 2.0)), "differs by channel"),
        (Preprocessing("x+1"), "0.0 is at pixel -1"),
        (Preprocessing("x-300"), "0.0 is at pixel 300"),
        # float32 has steps of 1/16 there: 17 of the pixels are next to one
        (Preprocessing("x/255+1000000", (1000000.0,)), "rounding moves 239 of the 256"),
    ],
    ids=str,
)
def test_what_is_not_exact_says_why(preprocessing: Preprocessing, reason: str) -> None:
    found = pixel_grid(preprocessing)
    assert isinstance(found, str) and reason in found


def test_equal_statistics_for_every_channel_are_one_map() -> None:
    one = Preprocessing("x/255", (0.2,), (0.1,), channels="bgr", layout="nhwc")
    three = Preprocessing("x/255", (0.2, 0.2, 0.2), (0.1, 0.1, 0.1))
    assert pixel_grid(one) == pixel_grid(three) == PixelGrid(float(np.float32(1 / 25.5)), 51)


@given(st.integers(0, 255), st.floats(0.001, 1000, allow_nan=False), st.sampled_from([U8, S8]))
def test_a_grid_is_exact_or_refused(zero_point: int, divisor: float, qtype: QType) -> None:
    """Whatever is accepted holds for all bytes; an offset of whole pixels is nearly always."""
    preprocessing = Preprocessing(f"(x-{zero_point})/{divisor:.4f}")
    grid = pixel_grid(preprocessing)
    assert isinstance(grid, PixelGrid) and grid.zero_point == zero_point
    assert mismatches(preprocessing, grid.qparams(qtype)) == 0


def test_mismatches_counts_the_bytes_that_move() -> None:
    """A step 0.2 % too long moves every byte whose distance from 0.0 is 250 steps or more."""
    wrong = PixelGrid(1.002 / 255, 0).qparams(U8)
    assert mismatches(Preprocessing("x/255"), wrong) == 5
    assert mismatches(Preprocessing("x/255", channels="gray"), wrong) == 5
    per_channel = Preprocessing("x/255", (0.0, 0.0, 0.5), layout="nhwc")
    assert mismatches(per_channel, PixelGrid(1 / 255, 0).qparams(U8)) == 255
