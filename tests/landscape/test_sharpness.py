"""Eigenvalues, slopes and rises against problems whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import deployq
from deployq.errors import InputError, UnsupportedError
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.landscape.batches import class_loss, labelled_batches
from deployq.landscape.eigenvalue import largest_eigenvalue
from deployq.landscape.given_weights import quantized_weights
from deployq.landscape.weight_loss import WeightLoss
from deployq.train import Units, learn_scales
from tests.graph.networks import residual_for
from tests.landscape.models import apart, base, data, first_score, linear, means, squares
from tests.train.loops import same, smooth, state


@pytest.mark.parametrize(
    ("spectrum", "largest"),
    [([5.0, 2.0, 1.0], 5.0), ([3.0, -4.0, 1.0], 3.0), ([-1.0, -7.0, -3.0], -1.0), ([0.0] * 3, 0.0)],
)
def test_the_largest_eigenvalue_of_a_known_matrix(spectrum: list[float], largest: float) -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(3, 3)).Q
    matrix = basis @ torch.diag(torch.tensor(spectrum)) @ basis.T
    found = largest_eigenvalue(lambda v: matrix @ v, torch.randn(3), steps=100)
    assert found.settled
    # each iteration ends at a residual of 1 %
    assert found.value == pytest.approx(largest, abs=0.02 * max(map(abs, spectrum)))


def test_an_iteration_that_is_cut_off_says_so() -> None:
    close = torch.tensor([1.0, 0.9])
    assert not largest_eigenvalue(lambda v: close * v, torch.tensor([1.0, 9.0]), steps=2).settled
    assert not largest_eigenvalue(lambda v: v * float("nan"), torch.ones(2)).settled


@pytest.mark.parametrize("units", list(Units))
def test_a_quadratic_has_its_known_eigenvalue(units: Units) -> None:
    """Half of mean |W x + b|^2 has the Hessian mean x x^T for each output."""
    seen, prepared = data(), linear()
    x = means(seen)
    unit = float(quantized_weights(prepared)["head"].std()) if units is Units.DEVIATION else 1.0
    wanted = float(torch.linalg.eigvalsh(x.T @ x / len(x))[-1]) * unit**2
    found = deployq.measure_sharpness(prepared, seen, loss=squares, units=units)
    assert found.settled and found.samples == 12
    assert found.eigenvalue == pytest.approx(wanted, rel=5e-3)


@pytest.mark.parametrize("units", list(Units))
def test_a_linear_loss_rises_by_radius_times_slope(units: Units) -> None:
    seen, prepared = data(), linear()
    unit = float(quantized_weights(prepared)["head"].std()) if units is Units.DEVIATION else 1.0
    steepest = 0.5 * unit * float(means(seen).mean(0).norm())
    found = deployq.measure_sharpness(
        prepared, seen, loss=first_score, radius=0.5, units=units, directions=50
    )
    assert found.eigenvalue == 0.0
    assert found.adversarial == pytest.approx(steepest, rel=1e-4)
    assert found.random_mean < found.random_worst <= found.adversarial
    assert abs(found.random_mean) < steepest / 3  # a mean of 50 directions of either sign


def around(prepared: Any, **facts: Any) -> WeightLoss:
    batches = labelled_batches("data", prepared, data(), None)
    return WeightLoss(prepared, batches, class_loss, by_deviation=True, **facts)


def test_slope_and_curvature_are_differences_of_the_loss() -> None:
    loss = around(smooth())
    steepest, other = loss.slope(), torch.randn(loss.size)
    steepest, step = steepest / steepest.norm(), 0.2
    rise = (loss.at(step * steepest) - loss.at(-step * steepest)) / (2 * step)
    assert float(loss.slope() @ steepest) == pytest.approx(rise, rel=1e-3)
    bend = loss.at(steepest) + loss.at(-steepest) - 2 * loss.at()  # less would drown in float32
    assert float(loss.curvature(steepest) @ steepest) == pytest.approx(bend, rel=0.02)
    crossed = float(loss.curvature(steepest) @ other)
    assert crossed == pytest.approx(float(loss.curvature(other) @ steepest), rel=1e-3)


@pytest.mark.parametrize("learned", [False, True])
def test_the_hessian_is_symmetric_where_activations_are_quantized(learned: bool) -> None:
    prepared = apart(base(), 1)
    learn_scales(prepared, activations=learned)
    loss = around(prepared)
    left, right = torch.randn(2, loss.size)
    forth, back = float(loss.curvature(left) @ right), float(loss.curvature(right) @ left)
    assert forth == pytest.approx(back, rel=1e-3) and abs(forth) > 1e-3


def test_batches_add_up_to_the_mean_over_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = around(base())
    monkeypatch.setattr("deployq.landscape.batches.BATCH", 5)
    split, vector = around(base()), torch.randn(whole.size)
    assert split.at() == pytest.approx(whole.at(), rel=1e-6)
    torch.testing.assert_close(split.slope(), whole.slope(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        split.curvature(vector), whole.curvature(vector), rtol=1e-3, atol=1e-5
    )


def test_the_same_seed_gives_the_same_figures_and_the_model_stays() -> None:
    prepared, steps = base(), list[str]()
    before = state(prepared.module)
    first = deployq.measure_sharpness(prepared, data(), progress=steps.append)
    assert deployq.measure_sharpness(prepared, data()) == first
    assert deployq.measure_sharpness(prepared, data(), seed=1).random_mean != first.random_mean
    assert same(state(prepared.module), before)
    assert not any(module._forward_hooks for module in prepared.module.modules())
    assert set(steps) == {"curvature", "adversarial direction", "random directions"}
    assert first.adversarial > first.random_worst >= first.random_mean


def fused(output: Tensor, labels: Tensor) -> Tensor:
    """The fused kernel of attention has a first derivative and no second one."""
    parts = [output.reshape(1, 1, -1, 2)] * 3
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*parts)[0].sum()


def attention(output: Tensor, labels: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(*[output.reshape(1, 1, -1, 2)] * 3).sum()


def test_a_network_without_second_derivatives_is_measured_without_them() -> None:
    with pytest.raises(UnsupportedError, match="second derivative"):
        deployq.measure_sharpness(linear(), data(), loss=fused)
    assert not any(module._forward_hooks for module in linear().module.modules())
    found = deployq.measure_sharpness(linear(), data(), loss=fused, steps=0)
    assert found.eigenvalue is None and found.adversarial > 0


def test_attention_has_a_curvature() -> None:
    found = deployq.measure_sharpness(linear(), data(), loss=attention)
    assert found.eigenvalue is not None and found.eigenvalue > 0


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"radius": 0.0}, "positive and finite"),
        ({"directions": 0}, "random directions are at least one"),
        ({"data": replace(data(), labels=None)}, "a loss needs labels"),
        ({"loss": lambda output, labels: output.sum() / 0}, "around a finite loss"),
        ({"prepared": residual_for(
            "ort-cpu", Recipe(layers={"*": LayerRecipe(keep_float=True)})
        )}, "no linear layer on a grid"),
    ],
)  # fmt: skip
def test_what_has_no_sharpness(facts: dict[str, Any], text: str) -> None:
    given = {"prepared": linear(), "data": data(), **facts}
    with pytest.raises(InputError, match=text):
        deployq.measure_sharpness(given.pop("prepared"), given.pop("data"), **given)


def test_figures_that_are_not_finite_are_none_in_json() -> None:
    found = deployq.measure_sharpness(linear(), data(), loss=squares, steps=0)
    assert replace(found, random_worst=np.inf).to_json()["random_worst"] is None
    assert found.to_json()["units"] == "deviation"
