"""Paired bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.statistics import Interval, Rows, median_ratio, paired_difference


def mean(rows: Rows) -> float:
    return float(rows.mean())


def test_equal_rows_have_no_spread() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 1))
    assert paired_difference(mean, rows, rows) == Interval(0.0, 0.0, 0.0)


def test_pairing_removes_what_units_share() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 1), scale=100)
    found = paired_difference(mean, rows + 1, rows)
    # shared noise cancels up to the rounding of a float64 mean
    assert found.low == pytest.approx(1, abs=1e-9) and found.high == pytest.approx(1, abs=1e-9)


def test_interval_of_a_mean_is_near_the_textbook_one() -> None:
    rows = np.random.default_rng(1).normal(size=(400, 1))
    found = paired_difference(mean, rows, np.zeros((400, 1)))
    half = 1.96 * rows.std() / 20
    # 2000 draws place a 95 % end within a tenth of the half width
    assert found.high - found.middle == pytest.approx(half, rel=0.1)
    assert found.middle - found.low == pytest.approx(half, rel=0.1)


def test_median_ratio_withstands_one_disturbed_round() -> None:
    first, second = np.full(20, 2.0), np.full(20, 4.0)
    first[3] = 100.0
    assert median_ratio(first, second) == Interval(0.5, 0.5, 0.5)


@pytest.mark.parametrize("lengths", [(3, 4), (0, 0)])
def test_rows_that_are_no_pairs_are_refused(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="paired rows wanted, found"):
        median_ratio(np.ones(lengths[0]), np.ones(lengths[1]))


def test_text_has_the_digits_asked_for() -> None:
    assert Interval(0.9, 1.0, 1.25).text(1) == "1.0 [0.9, 1.2]"
