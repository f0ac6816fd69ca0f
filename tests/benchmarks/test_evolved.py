"""What the benchmark of Evol-Q judges by, and the search that it compares with."""

from __future__ import annotations

import copy

import numpy as np
import torch

import deployq
from benchmarks.evolved.accuracy import _misses
from benchmarks.evolved.budget import TRIAL, Schedule
from benchmarks.evolved.grids import PLAIN, POWERS, ROUNDED
from benchmarks.evolved.searches import Searched
from benchmarks.evolved.straightforward import evolve_straightforward
from benchmarks.evolved.worth import Gain, rows_of
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.evolq import EvolveSettings
from deployq_targets import load_profile
from tests.calibration.test_evolq import images, network


def test_equal_scores_have_no_divergence() -> None:
    scores = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    rows = rows_of(scores, scores, scores.argmax(1))
    assert np.array_equal(rows, np.stack([np.zeros(20), np.full(20, 100.0)], 1))


def test_divergence_is_that_of_the_float_softmax() -> None:
    rows = rows_of(np.float32([[0.0, 0.0]]), np.float32([[np.log(3.0), 0.0]]), np.array([0]))
    wanted = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert abs(rows[0, 0] - wanted) < 1e-7  # scores are float32


def test_a_text_is_the_mean_over_its_tokens() -> None:
    """The second text ends after two ids; the last scores of a text speak of no id."""
    ids = np.array([[1, 0, 1], [0, 1, -1]])
    floats = np.zeros((2, 3, 2), np.float32)
    scores = floats.copy()
    scores[0, 0] = [1.0, 0.0]  # the next id is 0
    scores[1, 1:], scores[0, 2] = [5.0, 0.0], [5.0, 0.0]
    (_, hits), (nothing, none) = rows_of(scores, floats, ids)
    assert (hits, none, nothing) == (50.0, 0.0, 0.0)
    first = rows_of(scores[:1, 0], floats[:1, 0], np.array([0]))[0, 0]
    assert np.isclose(rows_of(scores, floats, ids)[0, 0], first / 2)


def searched(divergence: float, held_back: tuple[float, float], seconds: float) -> Searched:
    before = np.stack([np.full(50, 0.2), np.tile([0.0, 100.0], 25)], 1)
    after = before + np.array([divergence, 0.0])
    report = {"held_back": held_back, "held_back_after": held_back[-1], "seconds": seconds}
    return Searched(before, [after], (50.0, 50.0), [report])


def test_goals_that_are_missed_are_named() -> None:
    schedule = Schedule(10.0, {})
    good = searched(-0.1, (2.0, 1.0), 9.0)
    assert not _misses(PLAIN[0], good, Gain.of(good.mean_after, good.before), schedule)
    bad = searched(0.1, (1.0, 2.0), 11.0)
    found = _misses(ROUNDED[0], bad, Gain.of(bad.mean_after, bad.before), schedule)
    assert len(found) == 3 and "learned rounding" in found[1] and "11 s of 10 s" in found[2]
    narrow = _misses(PLAIN[2], good, Gain.of(good.mean_after, good.before), schedule)
    assert narrow == ["the gain in accuracy is within its spread"]


def test_the_straightforward_search_ends_with_the_same_scales() -> None:
    prepared = deployq.prepare(network(), [torch.zeros(2, 6, 8)], "int4-npu")
    deployq.calibrate(prepared, images(), CalibrationSettings(corrections=()))
    other = copy.deepcopy(prepared)
    settings = EvolveSettings(passes=1, samples=40, batch=20, held_back=0.0)
    found = deployq.evolve_scales(prepared, images(), settings, teacher=network())
    x = torch.from_numpy(images().inputs["x"])[:40]
    evolve_straightforward(other, x, network(), settings)
    assert found.after < found.before
    for name, tensor in prepared.module.state_dict().items():
        assert torch.equal(tensor, other.module.state_dict()[name]), name


def test_profiles_and_schedules_are_whole() -> None:
    assert load_profile(POWERS).weight.scale_form == "pow2"
    assert {grid.weights for grid in PLAIN} <= set(load_profile(PLAIN[0].target).weight.bits)
    assert all(s.settings(1).seed == 1 for s in TRIAL.schedules.values())
