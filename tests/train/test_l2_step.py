"""The step with the least squared error, held against every step tried."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deployq.graph.integers import linear_calls
from deployq.train import fit_step_l2, l2_step
from tests.graph.networks import residual_for

RANGES = {"ternary": (-1, 1), "full 2-bit": (-2, 1), "3-bit": (-3, 3), "8-bit": (-127, 127)}
ranges = pytest.mark.parametrize(("qmin", "qmax"), RANGES.values(), ids=RANGES)


def error(rows: Tensor, steps: Tensor, qmin: int, qmax: int) -> Tensor:
    """(..., R) float64 sums of squared errors of (..., R) steps."""
    rows, steps = rows.double(), steps.double()[..., None]
    return ((rows - steps * (rows / steps).round().clamp(qmin, qmax)) ** 2).sum(-1)


def tried(rows: Tensor, qmin: int, qmax: int) -> Tensor:
    """The least error among 2000 steps, from one that clips nothing downwards."""
    widest = rows.double().abs().amax(1) / min(max(-qmin, 1), max(qmax, 1))
    shares = torch.logspace(0.1, -2.5, 2000, dtype=torch.float64)
    return error(rows, widest * shares[:, None], qmin, qmax).amin(0)


@ranges
@pytest.mark.parametrize("shape", [(5, 27), (1, 400)], ids=["channels", "tensor"])
def test_no_step_that_was_tried_is_better(shape: tuple[int, int], qmin: int, qmax: int) -> None:
    rows = torch.randn(shape)
    found = error(rows, fit_step_l2(rows, qmin, qmax), qmin, qmax)
    assert (found <= tried(rows, qmin, qmax) * (1 + 1e-6)).all()  # the step is a float32


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=9).filter(any),
    st.sampled_from([(-1, 1), (-2, 1), (-3, 3), (-1, 0)]),
)
def test_equal_and_few_values_too(values: list[int], ends: tuple[int, int]) -> None:
    rows = torch.tensor([values]) / 4
    found = error(rows, fit_step_l2(rows, *ends), *ends)
    assert (found <= tried(rows, *ends) * (1 + 1e-6) + 1e-9).all()


@ranges
def test_wide_weights_are_searched_as_well(
    monkeypatch: pytest.MonkeyPatch, qmin: int, qmax: int
) -> None:
    rows = torch.randn(6, 2000)
    exact = error(rows, fit_step_l2(rows, qmin, qmax), qmin, qmax)
    monkeypatch.setattr(l2_step, "EXACT_BREAKPOINTS", 0)
    searched = error(rows, fit_step_l2(rows, qmin, qmax), qmin, qmax)
    assert (exact <= searched * (1 + 1e-6)).all()
    assert (searched <= exact * 1.02).all()  # rugged: the best step may fall between two tried


def test_the_ternary_step_of_a_gaussian_is_known() -> None:
    """1.224 deviations: where ``D`` is the mean of all ``|w|`` above ``D / 2``."""
    step = fit_step_l2(torch.randn(1, 200_000), -1, 1)
    assert step == pytest.approx(1.224, abs=0.01)


def test_weights_on_a_grid_give_their_step_back() -> None:
    codes = torch.randint(-3, 4, (4, 50)).float()
    steps = torch.tensor([0.5, 1.0, 3.0, 0.1])
    torch.testing.assert_close(fit_step_l2(codes * steps[:, None], -3, 3), steps)


def test_rows_without_a_code_take_the_mean_step() -> None:
    rows = torch.tensor([[0.0, 0.0], [2.0, -2.0], [4.0, 4.0]])
    assert fit_step_l2(rows, -1, 1).tolist() == [3.0, 2.0, 4.0]
    assert fit_step_l2(rows, -1, 0).tolist() == [2.0, 2.0, 2.0]  # no code above 0
    assert fit_step_l2(torch.zeros(2, 3), -1, 1).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("target", ["int4-npu", "lowbit-vlsi"])
def test_a_layer_is_fitted_to_what_its_quantizer_sees(target: str) -> None:
    for call in linear_calls(residual_for(target)):
        before = call.unit.weight_quantizer(call.seen_weight())
        l2_step.set_step_l2(call)
        after = call.unit.weight_quantizer(call.seen_weight())
        seen = call.seen_weight()
        assert ((after - seen) ** 2).sum() <= ((before - seen) ** 2).sum() * (1 + 1e-6)
