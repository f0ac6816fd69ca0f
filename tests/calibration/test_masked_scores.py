"""Scores that a mask takes out of a Softmax do not decide the range of the others."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from deployq.graph.capture import capture
from deployq.graph.preparation import PreparedModel
from deployq_calibration import calibrate_model
from deployq_calibration.masked_scores import without_masked
from tests.graph.networks import Masked, prepared_for

KEYS = 6
ROW = st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=9)


@given(ROW, st.integers(2, 16))
def test_scores_of_one_range_stay(row: list[float], bits: int) -> None:
    scores = torch.tensor([row]) * 0.8  # within 50 of each other
    assert torch.equal(without_masked(scores, bits), scores)


@given(ROW, st.sampled_from([-1e4, -100.0, -3.4e38]))
def test_masked_scores_keep_less_than_half_a_step(row: list[float], mask: float) -> None:
    scores = torch.tensor([[*row, *(value + mask for value in row)]]) * 0.8
    found = without_masked(scores, 8)
    assert torch.equal(found[:, : len(row)], scores[:, : len(row)])
    shares = torch.softmax(found.double(), -1)[:, len(row) :]
    assert float(shares.sum()) < 1 / 512 and float(found.max() - found.min()) < 60


@pytest.mark.parametrize("observer", ["mse", "minmax", "percentile", "entropy"])
def test_a_mask_among_the_inputs_leaves_the_scores_their_codes(observer: str) -> None:
    prepared, batch, scores = masked_attention()
    calibrate_model(prepared, lambda: [batch], activations=observer)
    span = float(scores.max() - scores.min()) + math.log(KEYS * 2**9)
    assert prepared.grids()["add"].scale <= 1.01 * span / 255


def test_a_sum_that_others_read_too_keeps_its_range() -> None:
    prepared, batch, _ = masked_attention(read_twice=True)
    calibrate_model(prepared, lambda: [batch], activations="minmax")
    assert prepared.grids()["add"].scale > 1e4 / 255


def masked_attention(
    *, read_twice: bool = False
) -> tuple[PreparedModel, tuple[Tensor, ...], Tensor]:
    """Scores of a layer, some of them masked, and their Softmax."""

    def body(m: Any, x: Tensor, mask: Tensor) -> object:
        scores = m.a(x) + mask
        shares = m.b(torch.softmax(scores, -1))
        return (shares, m.c(scores)) if read_twice else shares

    torch.manual_seed(0)
    layers = {name: nn.Linear(KEYS, KEYS) for name in "abc"[: 3 if read_twice else 2]}
    net = Masked(body, **layers).eval()
    x = torch.randn(64, 4, KEYS) * 4
    mask = torch.zeros(64, 1, KEYS)
    mask[::2, :, 4:] = -1e4
    with torch.no_grad():
        scores = net.a(x)
    return prepared_for(capture(net, (x, mask)), "ort-cpu"), (x, mask), scores
