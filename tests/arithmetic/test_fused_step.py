"""Constants of a multiply and an add that give the codes of a float32 requantization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.float32 import Float32Array, fma
from deployq.arithmetic.fused_step import FusedStep, fused_step
from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels import int8
from deployq.qparams import QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import U8, seeds

REACH = 3000


def codes(acc: Float32Array, step: FusedStep, zero_point: int, *, fused: bool) -> Float32Array:
    m, a = step.multiplier[:, None], step.addend[:, None]
    values = fma(acc, m, a) if fused else acc * m + a
    return np.rint(values + np.float32(zero_point)).clip(0, 255)


@settings(max_examples=200, deadline=None)
@given(seeds, st.integers(0, 255), st.booleans())
def test_where_it_holds_every_sum_in_reach_gets_its_code(
    seed: int, zero_point: int, ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    multiplier = rng.uniform(0.02, 0.2, 8).astype(np.float32)
    if ties:
        multiplier = np.exp2(rng.integers(-6, -2, 8)).astype(np.float32)
    bias = rng.integers(-2000, 2000, 8)
    out = QParams(U8, np.asarray(1, np.float32), np.asarray(zero_point))
    low, high = np.full(8, -REACH), np.full(8, REACH)
    step = fused_step(multiplier, bias, (low, high), out)
    acc = np.arange(-REACH, REACH + 1)
    exact = np.rint((acc + bias[:, None]).astype(np.float32) * multiplier[:, None]) + zero_point
    for fused in (False, True):
        found = codes(acc.astype(np.float32)[None], step, zero_point, fused=fused)
        np.testing.assert_array_equal(found[step.holds], exact.clip(0, 255)[step.holds])


def test_most_channels_hold_and_moves_help() -> None:
    rng = np.random.default_rng(0)
    multiplier = rng.uniform(0.004, 0.02, 400).astype(np.float32)
    bias, reach = rng.integers(-9000, 9000, 400), (np.full(400, -90_000), np.full(400, 90_000))
    step = fused_step(multiplier, bias, reach, QParams(U8, np.asarray(1, np.float32)))
    moved = step.holds & (step.multiplier != multiplier)
    assert step.holds.mean() > 0.9 and moved.any()


def test_steps_that_float32_cannot_tell_apart_do_not_hold() -> None:
    multiplier = np.array([1e-6, 0.01], np.float32)
    reach = np.array([-(2**23)] * 2), np.array([2**23] * 2)
    step = fused_step(
        multiplier, np.zeros(2, np.int64), reach, QParams(U8, np.asarray(1, np.float32))
    )
    assert step.holds.tolist() == [False, True]


@pytest.mark.parametrize("out", [U8, QType(4, False)])
def test_other_widths_have_their_own_steps(out: QType) -> None:
    multiplier, bias = np.array([0.25], np.float32), np.array([1])
    step = fused_step(
        multiplier, bias, (np.array([-99]), np.array([99])), QParams(out, np.asarray(1, np.float32))
    )
    acc = np.arange(-99, 100)
    exact = np.rint((acc + 1).astype(np.float32) * multiplier).clip(0, out.qmax)
    found = codes(acc.astype(np.float32)[None], step, 0, fused=False).clip(0, out.qmax)
    assert step.holds.all() and found[0].tolist() == exact.tolist()


def test_a_processor_of_another_formula_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    step = FusedStep(np.ones(1, np.float32), np.zeros(1, np.float32), np.ones(1, np.bool_))
    w = torch.ones(1, 1, 1, 1, dtype=torch.int8)
    monkeypatch.setattr(int8, "_probe_codes", lambda *case: False)
    int8._is_exact.cache_clear()
    try:
        assert int8.int8_codes(w, step, 0, ConvGeometry(), (0, 0)) is None
    finally:
        int8._is_exact.cache_clear()
