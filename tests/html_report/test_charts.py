"""Geometry of the plots: places on the axes are the numbers they stand for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.html_report.axis import Axis
from deployq.html_report.difference_strips import HEIGHT, SHORTEST, difference_strips
from deployq.html_report.latency_chart import MEDIANS, latency_chart
from deployq.html_report.range_cards import range_cards
from deployq.html_report.sqnr_chart import sqnr_chart
from deployq.verifier.ranges import TensorRange
from deployq.verifier.report import Latency
from deployq.verifier.sqnr import LayerSqnr
from tests.html_report.reports import names, report

REALS = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.lists(REALS, min_size=1, max_size=5))
def test_an_axis_holds_its_values_and_round_ticks(values: list[float]) -> None:
    axis = Axis.over(values)
    assert all(0 <= axis.at(value) <= 100 for value in values)
    if axis.high - axis.low > 1e-6:
        places = [tick.at for tick in axis.ticks()]
        assert places == sorted(places) and len(places) <= 7


def test_ticks_are_round() -> None:
    assert [tick.label for tick in Axis(0, 47.7).ticks(6)] == ["0", "10", "20", "30", "40"]
    assert [tick.label for tick in Axis(-0.3, 0.3).ticks(3)] == ["-0.2", "0", "0.2"]


def test_sqnr_bars_start_at_zero_and_negative_ones_go_left() -> None:
    chart = sqnr_chart([LayerSqnr("a", 30.0, -10.0, None), LayerSqnr("b", None, None)])
    assert chart is not None
    fed, whole = chart.rows[0].bars
    assert (fed.start, fed.width) == (25.0, 75.0) and (whole.start, whole.width) == (0.0, 25.0)
    assert chart.rows[1].bars == () and sqnr_chart([LayerSqnr("b", None, None)]) is None


def test_a_card_draws_every_code_of_a_small_grid_and_the_ends_of_a_large_one() -> None:
    activation, weight = (
        range_cards(report(["t"]).layers.ranges, k)[0] for k in ("activation", "weight")
    )
    assert len(weight.lines) == 15 and len(activation.lines) == 2
    # values -4 to 4, grid 0 to 5.1: the axis runs from -4 to 5.1
    assert (
        activation.lines == (pytest.approx(43.96), 100.0) and activation.zero == activation.lines[0]
    )
    assert (activation.left, activation.right) == (-4.0, 5.1)


def test_a_constant_tensor_is_a_needle_and_none_is_nothing() -> None:
    facts = TensorRange("t", "weight", "s2", (-1, 1), (1, 1), 0, 0.5, 0.5, (-1, 1), 0.0, (9, 0))
    assert range_cards([facts], "weight")[0].path.startswith("M74.5")
    empty = TensorRange("t", "weight", "s2", (-1, 1), (1, 1), 0, 0.0, 0.0, (-1, 1), 0.0, (0, 0))
    assert range_cards([empty], "weight")[0].path == ""


def test_bars_of_differences_rise_with_the_logarithm_of_their_share() -> None:
    tensors = names(3)
    _, strip, _ = difference_strips(
        report(tensors, wrong={tensors[1]: 10**6, tensors[2]: 1}).parities
    )
    absent, all_wrong, one_wrong = strip.cells
    assert (absent.state, absent.height) == ("absent", 0) and all_wrong.height == HEIGHT
    assert one_wrong.height == pytest.approx(SHORTEST + (HEIGHT - SHORTEST) / 7, abs=0.1)


def test_slow_runs_lie_in_the_last_bin() -> None:
    times = (1.0,) * 90 + (50.0,) * 10
    chart = latency_chart(Latency("r", 1, 100, 1.0, 1.0, 50.0, 1.0, 1.0, (), times, times))
    assert chart is not None and chart.beyond == 20
    assert [tick.label for tick in chart.ticks] == ["0", "1", "2", "3", "4"]
    (first, last), axis_end = chart.runs[0].bars, 1.02 * MEDIANS
    assert first[0] == pytest.approx(100 / axis_end, abs=2) and last[0] == 98.0


def test_columns_follow_the_comparison_with_the_most_tensors() -> None:
    first, second, third = report(["x", "conv", "flatten", "head"]).parities
    outputs = (*second.layers[:1], replace(second.layers[0], tensor="output head"))
    strips = difference_strips([replace(second, layers=outputs), first, third])
    assert [cell.text.partition(":")[0] for cell in strips[0].cells] == [
        "x", "conv", "flatten", "head", "output head",
    ]  # fmt: skip
