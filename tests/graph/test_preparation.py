"""Preparation: the fake-quant network runs, trains and keeps the user's names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.errors import InputError, UnsupportedError
from deployq.graph.capture import capture
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import linear_calls
from deployq.graph.plan import Plan
from deployq.graph.preparation import PreparedModel, disable_quantizers, prepare_graph
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq_targets import load_profile
from tests.graph.networks import (
    ABSORBING,
    TARGETS,
    Net,
    TwoInputs,
    calibrated,
    calls_of,
    conv,
    graph_of,
    images,
    parts,
    prepared_for,
    residual,
    residual_for,
)


def test_quantizers_stand_after_every_computing_node() -> None:
    prepared = residual_for("int8-npu")
    unit, quantizer = "QuantizedLinear", "FakeQuantize"
    assert calls_of(prepared.module) == [
        quantizer, *[unit, quantizer] * 2, unit, quantizer, "slice", "slice", "pad", "add",
        quantizer, "adaptive_avg_pool2d", quantizer, "flatten", "Dropout", unit, quantizer,
    ]  # fmt: skip


@pytest.mark.parametrize("target", ABSORBING)
def test_without_quantizers_it_is_the_users_network(target: str) -> None:
    model = residual()
    prepared = calibrated(model, target)
    assert not torch.equal(prepared.module(images()), model(images()))
    disable_quantizers(prepared.module)
    assert torch.equal(prepared.module(images()), model(images()))


def test_the_captured_network_stays_as_it_was() -> None:
    graph = capture(residual(), [images(2)])
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    calls = calls_of(graph)
    prepared_for(graph, "int8-npu")
    assert calls_of(graph) == calls
    assert all(torch.equal(t, before[name]) for name, t in graph.state_dict().items())


def test_parameters_keep_the_users_names() -> None:
    model = residual()
    prepared = calibrated(model, "int8-npu")
    users = {name for name, _ in model.named_parameters()}
    ours = {name for name, _ in prepared.module.named_parameters()}
    assert {name for name in ours if not name.startswith("deployq.")} == users


@pytest.mark.parametrize("target", TARGETS)
def test_every_parameter_gets_its_gradient(target: str) -> None:
    prepared = residual_for(target)
    for module in prepared.module.modules():
        if isinstance(module, FakeQuantize):
            module.learn_scale()
    prepared.module.train()
    prepared.module(images()).square().sum().backward()
    assert [n for n, p in prepared.module.named_parameters() if p.grad is None] == []
    assert all(p.grad.abs().sum() > 0 for n, p in prepared.module.named_parameters()
               if n.endswith("weight") and p.grad is not None)  # fmt: skip


@pytest.mark.parametrize("target", ["int8-npu", "lowbit-vlsi"])
def test_training_moves_statistics_unless_they_are_frozen(target: str) -> None:
    for frozen in (False, True):
        prepared = residual_for(target)
        for unit in prepared.units().values():
            unit.frozen_statistics = frozen
        module = prepared.module.train()
        before = module.get_buffer("stem_norm.running_mean").clone()
        module(images())
        assert torch.equal(module.get_buffer("stem_norm.running_mean"), before) == frozen


@pytest.mark.parametrize("target", ["int8-npu", "lowbit-vlsi"])
def test_frozen_statistics_train_what_is_evaluated(target: str) -> None:
    prepared = residual_for(target)
    for name, unit in prepared.units().items():
        unit.frozen_statistics = True
        unit.train()
        found = unit_output(prepared, name)
        unit.eval()
        assert torch.equal(found, unit_output(prepared, name))


@pytest.mark.parametrize("target", ["int8-npu", "lowbit-vlsi"])
def test_statistics_of_the_batch_are_those_of_the_convolution_behind_the_grid(target: str) -> None:
    """Folded or not, training normalizes conv(x, Q) with the factor taken off."""
    prepared = residual_for(target)
    unit = prepared.units()["stem"].train()
    call = next(c for c in linear_calls(prepared) if c.name == "stem")
    norm = call.norm
    assert norm is not None
    quantized = unit.weight_quantizer(call.seen_weight())
    if unit.batch_norm == "fold":
        quantized = quantized / norm.factor(unit.eps)[:, None, None, None]
    real = F.conv2d(images(), quantized, padding=1)
    mean, variance = real.mean((0, 2, 3)), real.var((0, 2, 3), unbiased=False)
    wanted = (real - mean[:, None, None]) * torch.rsqrt(variance + unit.eps)[:, None, None]
    assert norm.gamma is not None and norm.beta is not None
    wanted = wanted * norm.gamma[:, None, None] + norm.beta[:, None, None]
    found = unit(images(), call.weight, *call.rest)
    # a hundred float32 products, in another order
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def unit_output(prepared: PreparedModel, name: str) -> torch.Tensor:
    call = next(c for c in linear_calls(prepared) if c.name == name)
    channels = {"stem": 3, "depth": 4, "wide": 4}.get(name)
    x = images(channels=channels) if channels else images()[:, :, 0, 0].repeat(1, 3)[:, :8]
    found: torch.Tensor = call.unit(x, call.weight, *call.rest)
    return found


def test_dropout_drops_in_training_only() -> None:
    graph = graph_of(lambda m, x: m.drop(m.conv(x)), conv=conv(3, 2), drop=nn.Dropout(0.5))
    module = prepared_for(graph, "int8-npu").module
    assert "Dropout" in calls_of(module)
    assert torch.equal(module(images()), module(images()))
    module.train()
    assert (module(images()) == 0).float().mean() > 0.3


def test_a_fully_connected_layer_absorbs_its_batch_norm() -> None:
    children = {"fc": nn.Linear(108, 4), "norm": nn.BatchNorm1d(4)}
    graph = graph_of(lambda m, x: m.norm(m.fc(x.flatten(1))), **children)
    prepared = prepared_for(graph, "int8-npu")
    assert [(layer.op_type, layer.batch_norm) for layer in prepared.plan.layers] == [
        ("Gemm", "absorb")
    ]
    disable_quantizers(prepared.module)
    assert torch.equal(prepared.module(images()), graph(images()))


def test_a_lone_batch_norm_is_a_depthwise_layer() -> None:
    graph = graph_of(lambda m, x: m.conv(m.norm(x)), conv=conv(3, 2), norm=nn.BatchNorm2d(3))
    prepared = prepared_for(graph, "int8-npu")
    assert [(layer.name, layer.batch_norm) for layer in prepared.plan.layers] == [
        ("norm", "absorb"), ("conv", "none"),
    ]  # fmt: skip
    assert prepared.units()["norm"].geometry.groups == 3
    disable_quantizers(prepared.module)
    assert torch.equal(prepared.module(images()), graph(images()))


def test_one_layer_called_twice_has_two_units_and_one_weight() -> None:
    graph = graph_of(lambda m, x: m.conv(F.relu(m.conv(x))), conv=conv(3, 3, bias=True))
    prepared = prepared_for(graph, "int8-npu")
    assert list(prepared.units()) == ["conv", "conv_1"]
    assert [layer.weight for layer in prepared.plan.layers] == ["conv.weight"] * 2
    disable_quantizers(prepared.module)
    assert torch.equal(prepared.module(images()), graph(images()))


def test_two_inputs_and_two_outputs() -> None:
    model, pair = TwoInputs().eval(), (images(seed=1), images(seed=2))
    prepared = prepare_graph(capture(model, pair), load_profile("int8-npu"))
    assert prepared.inputs == {"left": (0, 3, 6, 6), "right": (0, 3, 6, 6)}
    disable_quantizers(prepared.module)
    assert all(map(torch.equal, parts(prepared.module(*pair)), parts(model(*pair))))


@pytest.mark.parametrize("body", [F.relu6, lambda y: F.hardtanh(y, 0.0, 2.0)])
def test_a_learned_scale_cannot_outgrow_a_removed_clamp(body: Any) -> None:
    graph = graph_of(lambda m, x: body(m.conv(x) * x), conv=conv(3, 3))
    prepared = prepared_for(graph, "int8-npu")
    quantizer = prepared.quantizers()["mul"]
    quantizer.set_qparams(torch.tensor(9.0), torch.tensor(0))
    high = body(torch.tensor([1e9]))
    # the limit is high / 255 in float32: 255 of them are high to one rounding
    assert quantizer(torch.tensor([1e9])).tolist() == pytest.approx(high.tolist(), rel=2**-23)
    disable_quantizers(prepared.module)
    assert torch.equal(prepared.module(images()), graph(images()))


def test_modules_named_layers_are_not_in_the_way() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv(3, 3)
            self.layers = nn.ModuleDict({"conv": conv(3, 3)})

        def forward(self, x: Tensor) -> Tensor:
            return self.layers["conv"](self.conv(x))

    prepared = prepared_for(capture(Own(), [images(2)]), "int8-npu")
    assert list(prepared.units()) == ["conv", "layers.conv"]


def test_names_that_meet_at_one_path_are_refused() -> None:
    inner = Net(lambda m, x: m.b(x), b=conv(3, 3))
    graph = graph_of(lambda m, x: m.a__b(m.a(x)), a=inner, a__b=conv(3, 3))
    with pytest.raises(UnsupportedError, match=r"(?s)a__b.*next: rename one of the modules"):
        prepared_for(graph, "int8-npu")


def test_a_plan_of_another_network_is_noticed() -> None:
    prepared = residual_for("int8-npu")
    layer = prepared.plan.layers[0]
    plan = Plan("x", (), (layer.__class__(**{**vars(layer), "name": "other"}),))
    with pytest.raises(InputError, match="other: the network has the QuantizedLinear"):
        PreparedModel(prepared.module, plan, prepared.inputs, prepared.profile).units()


def test_the_last_pattern_of_a_recipe_wins() -> None:
    recipe = Recipe(4, None, {"layer1.*": LayerRecipe(8, 6), "*.conv2": LayerRecipe(2)})
    assert [recipe.weight_bits_of(n) for n in ("stem", "layer1.conv1", "layer1.conv2")] == [4, 8, 2]
    assert [recipe.activation_bits_of(n) for n in ("stem", "layer1.conv2")] == [None, 6]
