"""What quantizing each tensor alone costs: ranks, figures, refusals, and the way out."""

from __future__ import annotations

import math
import tomllib
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel, disable_quantizers
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq_calibration import calibrate_model
from deployq_calibration.sensitivity import rank_sensitivity, sensitivity_steps
from deployq_calibration.sensitivity_advice import advice
from tests.graph.networks import conv, graph_of, images, prepared_for, profile_with

X = images(16)


def three_layers(outlier: float = 1.0) -> fx.GraphModule:
    """Channel 0 of layer b is ``outlier`` times larger, and layer c does not read it."""

    def body(m: Any, x: Tensor) -> Tensor:
        y: Tensor = m.c(torch.relu(m.b(torch.relu(m.a(x)))).flatten(1))
        return y

    torch.manual_seed(0)
    a, b, c = conv(3, 8), conv(8, 8), nn.Linear(8 * 36, 5)
    with torch.no_grad():
        b.weight[0] *= outlier
        c.weight[:, :36] = 0
    return graph_of(body, a=a, b=b, c=c)


def calibrated(graph: fx.GraphModule, target: Any, recipe: Recipe | None = None) -> PreparedModel:
    prepared = prepared_for(graph, target, recipe)
    calibrate_model(prepared, lambda: [(X,)], activations="minmax", weights="minmax")
    return prepared


def two_bits_in(layer: str) -> PreparedModel:
    recipe = Recipe(weight_bits=8, layers={layer: LayerRecipe(weight_bits=2)})
    return calibrated(three_layers(), "lowbit-vlsi", recipe)


@pytest.mark.parametrize("layer", ["a", "b", "c"])
def test_a_layer_of_two_bits_ranks_first(layer: str) -> None:
    found = rank_sensitivity(two_bits_in(layer), [([X], None)])
    worst, second = found.costs[:2]
    assert (worst.name, worst.kind, worst.bits) == (layer, "weight", 2)
    assert worst.sqnr_db < second.sqnr_db - 10  # 6 bits wider would be 36 dB


def test_an_outlier_channel_per_tensor_ranks_first() -> None:
    profile = profile_with("int8-npu", weight__granularity=["tensor"], weight__axis={})
    ranked = rank_sensitivity(calibrated(three_layers(3000.0), profile), [([X], None)]).costs
    assert {cost.name for cost in ranked[:2]} == {"b"}  # its weight, and its output's grid
    assert all(cost.sqnr_db < 15 for cost in ranked[:2]) and ranked[2].sqnr_db > 30


def test_figures_are_those_of_one_quantizer_alone() -> None:
    prepared, labels = two_bits_in("b"), torch.arange(16) % 5
    found = rank_sensitivity(prepared, [([X[:7]], labels[:7]), ([X[7:]], labels[7:])])
    disable_quantizers(prepared.module)
    floats = prepared.module(X).detach()
    prepared.units()["b"].weight_quantizer.enabled = True
    alone = prepared.module(X).detach()
    disable_quantizers(prepared.module, False)
    sqnr = 10 * math.log10(float(floats.square().sum() / (floats - alone).square().sum()))
    right = [int((y.argmax(1) == labels).sum()) for y in (floats, alone)]
    (cost,) = (c for c in found.costs if (c.name, c.kind) == ("b", "weight"))
    assert cost.sqnr_db == pytest.approx(sqnr, abs=1e-3)  # batches sum in another order
    assert cost.top1_change == (right[1] - right[0]) / 16
    assert (found.samples, found.float_top1) == (16, right[0] / 16)
    assert len(found.costs) == 3 + len(prepared.plan.tensors) == sensitivity_steps(prepared) - 1


@pytest.mark.parametrize("labels", [None, torch.full((16,), 5), torch.zeros(16, 2).long()])
def test_without_class_numbers_there_is_no_top1(labels: Tensor | None) -> None:
    found = rank_sensitivity(two_bits_in("b"), [([X], labels)])
    assert found.float_top1 is None and all(cost.top1_change is None for cost in found.costs)


def test_a_quantizer_that_changes_nothing_ranks_last_and_asks_for_nothing() -> None:
    graph = graph_of(lambda m, x: m.a(x), a=conv(3, 3))
    prepared = prepared_for(graph, "int8-npu")
    zeros = torch.zeros(4, 3, 6, 6)
    with torch.no_grad():
        prepared.module.get_parameter("a.weight").zero_()
    calibrate_model(prepared, lambda: [(zeros,)])
    found = rank_sensitivity(prepared, [([zeros], None)])
    assert all(cost.sqnr_db == math.inf for cost in found.costs)
    assert advice(prepared, found) == ()


def test_modes_and_quantizers_are_put_back() -> None:
    prepared = two_bits_in("b")
    prepared.module.train()
    before = prepared.module(X)
    steps: list[str] = []
    rank_sensitivity(prepared, [([X], None)], progress=steps.append)
    assert prepared.module.training and torch.equal(prepared.module(X), before)
    assert len(steps) == sensitivity_steps(prepared)


def test_what_cannot_be_measured_is_refused() -> None:
    prepared = two_bits_in("b")
    with pytest.raises(InputError, match=r"(?s)measured on samples.*found: none"):
        rank_sensitivity(prepared, [])
    with pytest.raises(InputError, match=r"(?s)finite outputs.*found: NaN"):
        rank_sensitivity(prepared, [([X * math.nan], None)])
    assert all(q.enabled for q in prepared.quantizers().values())
    with pytest.raises(InputError, match="integers need a calibrated scale"):
        rank_sensitivity(prepared_for(three_layers(), "int8-npu"), [([X], None)])


def test_following_the_advice_helps() -> None:
    prepared = two_bits_in("b")
    found = rank_sensitivity(prepared, [([X], None)])
    (line,) = advice(prepared, found)
    assert line.startswith('b (weight): layers."b".weight_bits = ')
    setting = line.removeprefix("b (weight): ").partition(" in deployq.toml")[0]
    (wider,) = tomllib.loads(setting)["layers"].values()
    recipe = Recipe(weight_bits=8, layers={"b": LayerRecipe(**wider)})
    again = rank_sensitivity(calibrated(three_layers(), "lowbit-vlsi", recipe), [([X], None)])
    (cost,) = (c for c in again.costs if (c.name, c.kind) == ("b", "weight"))
    assert cost.bits > 2 and cost.sqnr_db > found.costs[0].sqnr_db


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("ort-cpu", "--keep-float b"),  # 8-bit weights are its widest; floats run there
        ("int4-npu", 'layers."b".weight_bits = 8 in deployq.toml, or --keep-float b'),
    ],
)
def test_advice_is_what_the_target_has(target: str, line: str) -> None:
    profile = profile_with(target, weight__granularity=["channel", "tensor"])
    recipe = Recipe(layers={"b": LayerRecipe(per_channel=False)})
    prepared = calibrated(three_layers(3000.0), profile, recipe)
    found = rank_sensitivity(prepared, [([X], None)])
    assert f"b (weight): {line}" in advice(prepared, found)


@pytest.mark.parametrize("target", ["ort-cpu", "int4-npu"])
def test_a_layer_takes_its_batch_norm_into_float(target: str) -> None:
    graph = graph_of(lambda m, x: m.n(m.a(x)), a=conv(3, 3), n=nn.BatchNorm2d(3))
    prepared = calibrated(graph, target)
    lines = advice(prepared, rank_sensitivity(prepared, [([X], None)]))
    assert any("--keep-float a" in line for line in lines)
    recipe = Recipe(layers={"a": LayerRecipe(keep_float=True)})
    plan = prepared_for(graph, target, recipe).plan
    assert (plan.layers, plan.floats) == ((), ("a: float, by the recipe",))


def test_where_nothing_is_wider_advice_says_so() -> None:
    changes = {
        "weight__granularity": ["tensor"],
        "weight__axis": {},
        "graph__unlisted_ops": "refuse",
    }
    profile = profile_with("lowbit-vlsi", **changes)
    prepared = calibrated(three_layers(3000.0), profile, Recipe(weight_bits=8, activation_bits=8))
    assert not profile.runs_floats
    found = rank_sensitivity(prepared, [([X], None)])
    assert any("has nothing wider for it" in line for line in advice(prepared, found))
