"""Counts on the fixed grid: exact, whatever the order, the sign and the size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq_calibration.observers import histogram
from deployq_calibration.observers.histogram import BINS, HIGHEST, LOWEST, Histogram, magnitudes


def counted(values: list[float]) -> Histogram:
    found = Histogram()
    found.add(torch.tensor(values))
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40))
def test_every_value_is_in_the_bin_whose_edges_hold_it(values: list[float]) -> None:
    found, edges = counted(values), magnitudes().numpy()
    expected = np.zeros((2, BINS), np.int64)
    zeros = 0
    for value in values:
        if abs(value) < 2.0**LOWEST:
            zeros += 1
        else:
            place = int(np.searchsorted(edges, min(abs(value), edges[-2]), side="right")) - 1
            expected[int(value > 0), place] += 1
    assert np.array_equal(found.counts.numpy(), expected) and found.zeros == zeros
    assert found.total == len(values)


def test_the_grid_has_equal_bins_in_every_octave() -> None:
    edges = magnitudes()
    assert (edges[0], edges[-1]) == (2.0**LOWEST, 2.0**HIGHEST) and len(edges) == BINS + 1
    assert torch.allclose(
        edges[1:] / edges[:-1], torch.ones(BINS, dtype=torch.float64), atol=1 / 512
    )


def test_counting_in_parts_is_counting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1000, 3).t()  # not contiguous
    whole, parts = Histogram(), Histogram()
    whole.add(x)
    monkeypatch.setattr(histogram, "CHUNK", 7)
    parts.add(x.double())
    assert torch.equal(whole.counts, parts.counts) and whole.total == 3000


def test_counts_stay_integers_beyond_the_24_bits_of_a_float32() -> None:
    found = counted([1.0])
    found.counts *= 1 << 40
    found.add(torch.ones(1))
    assert found.total == (1 << 40) + 1


def test_a_span_keeps_the_counts_and_joins_bins_near_zero() -> None:
    x = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    found = Histogram()
    found.add(x)
    edges, counts = found.span()
    assert len(edges) == len(counts) + 1 < BINS and (edges.diff() > 0).all()
    assert counts.sum() + found.zeros <= 50_000 and int(counts.sum()) > 49_990
    inside = ((x >= edges[100]) & (x < edges[200])).sum()
    assert abs(int(counts[100:200].sum()) - int(inside)) <= 1  # -edge itself counts outwards


def test_isolated_values_are_found_by_distance_and_share() -> None:
    found = counted([*[1.0] * 99, 100.0])
    assert magnitudes()[found.isolated(64, 0.01)] == 100.0
    assert found.isolated(101, 0.01) == BINS and found.isolated(64, 0.009) == BINS
    assert counted([1.0]).isolated(64, 0.5) == BINS
