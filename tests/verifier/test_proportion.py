"""Wilson's interval beside the roots of its own equation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.verifier.proportion import Z, wilson


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_its_ends_are_z_standard_errors_away(drawn: tuple[int, int]) -> None:
    hits, count = drawn
    share = hits / count
    for end in wilson(hits, count):
        apart = (share - end) ** 2
        assert apart == pytest.approx(Z * Z * end * (1 - end) / count, abs=1e-12)  # float64 sums


def test_all_right_is_not_certain() -> None:
    low, high = wilson(64, 64)
    assert (round(low, 4), high) == (0.9434, 1.0)
