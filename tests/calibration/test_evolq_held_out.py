"""Which pass held-out batches prefer, by any gain or by one that is larger than chance."""

from __future__ import annotations

import math

import pytest

from deployq_calibration.evolq.held_out import HeldOut, is_better

START = (1.0, 2.0, 3.0, 4.0)
SURE = (0.9, 1.8, 2.9, 3.8)  # lower by 0.15, standard error 0.029
LUCKY = (0.1, 2.2, 3.1, 4.1)  # lower by 0.125, by one batch alone: standard error 0.26


@pytest.mark.parametrize(
    ("losses", "margin", "better"),
    [
        (SURE, 0.0, True), (SURE, 1.0, True), (SURE, 5.1, True), (SURE, 5.3, False),
        (LUCKY, 0.0, True), (LUCKY, 1.0, False), (START, 0.0, False), (START, 1.0, False),
        ((math.inf,) * 4, 1.0, False),
    ],
)  # fmt: skip
def test_a_gain_counts_beyond_its_standard_errors(
    losses: tuple[float, ...], margin: float, better: bool
) -> None:
    assert is_better(losses, START, margin) is better


def test_what_the_target_could_not_run_is_beaten_by_what_it_can() -> None:
    assert is_better(START, (math.inf,) * 4, 1.0)


def test_the_pass_to_keep_is_the_last_that_was_better() -> None:
    seen = HeldOut.start(START).after(LUCKY, 1.0).after(SURE, 1.0).after(LUCKY, 1.0)
    assert (seen.best, seen.since, seen.losses) == (2, 1, SURE)
    assert seen.fitness == (2.5, 2.375, 2.35, 2.375)


def test_without_batches_nothing_is_seen() -> None:
    none = HeldOut.start(())
    assert none.after((), 0.0) == none and (none.fitness, none.since) == ((), 0)
