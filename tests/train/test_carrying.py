"""Progressive widths: the real ranges and the trained numbers stay, the codes get fewer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from deployq.arithmetic.contract import QDQ
from deployq.errors import InputError
from deployq.graph.codes import evaluate_codes
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.train import carry_weights, learn_scales
from tests.graph.networks import (
    Net,
    graph_of,
    images,
    prepared_for,
    residual_for,
    residual_graph,
)
from tests.train.digits import PROFILES, data, prepared_on, train_on

LOWBIT = "lowbit-vlsi"


def test_ranges_stay_and_a_network_trained_wide_starts_well_narrow() -> None:
    profile = PROFILES[LOWBIT]()
    wide = prepared_on(profile, Recipe(weight_bits=8, activation_bits=8))
    learn_scales(wide)
    train_on(wide, steps=15)
    narrow = prepared_on(profile, Recipe(weight_bits=4, activation_bits=4))
    x, y = data()
    before = nn.functional.cross_entropy(narrow.module(x), y)
    carry_weights(wide, narrow)
    assert nn.functional.cross_entropy(narrow.module(x), y) < before
    ranges = []
    for prepared in (wide, narrow):
        quantizer = prepared.quantizers()["a"]
        ranges.append(float(quantizer.qparams().scale) * quantizer.qtype.qmax)
        assert int(quantizer.zero_point) == 0 and not quantizer.qtype.signed
    assert ranges[0] == pytest.approx(ranges[1], rel=1e-6)
    for name in ("a.weight", "norm_b.bias", "norm_b.running_var"):
        tensors = [prepared.module.state_dict()[name] for prepared in (wide, narrow)]
        assert torch.equal(*tensors)


@pytest.mark.parametrize("target", ["int8-npu", LOWBIT])
def test_the_same_widths_keep_the_network(target: str) -> None:
    """A mode of BatchNorm that moves its sign, and grids with free zero points."""
    source, target_model = residual_for(target), prepared_for(residual_graph(), target)
    for name, quantizer in source.quantizers().items():
        assert not target_model.quantizers()[name].calibrated
        with torch.no_grad():
            quantizer.scale.mul_(1.25)
    carry_weights(source, target_model)
    x = images()
    found, expected = (evaluate_codes(m, QDQ, x) for m in (target_model, source))
    assert all(torch.equal(codes, found[name]) for name, codes in expected.items())


def test_a_folded_batch_norm_gets_its_sign_where_it_is_absorbed() -> None:
    source, narrow = residual_for(LOWBIT), prepared_for(residual_graph(), "int4-npu")
    assert (source.module.get_parameter("stem_norm.weight") < 0).any()
    carry_weights(source, narrow)
    assert (narrow.module.get_parameter("stem_norm.weight") >= 0).all()
    other = residual_for("int4-npu")  # prepared from the float network itself
    x = images()
    for name in ("stem.weight", "stem_norm.weight", "stem_norm.running_mean"):
        found, expected = (m.module.state_dict()[name] for m in (narrow, other))
        assert torch.equal(found, expected)
    assert narrow.module(x).isfinite().all()


def test_gammas_that_are_bounded_at_zero_are_carried_as_they_act() -> None:
    source, narrow = residual_for("int8-npu"), prepared_for(residual_graph(), "int4-npu")
    source.module.get_parameter("stem_norm.weight").data[0] = -0.5
    carry_weights(source, narrow)
    assert narrow.module.get_parameter("stem_norm.weight")[0] == 0.0


def one_layer(inputs: int = 3, outputs: int = 4, name: str = "a") -> Any:
    layer = nn.Conv2d(inputs, outputs, 1)
    return graph_of(lambda m, x: getattr(m, name)(x), **{name: layer})


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (one_layer(outputs=5), r"^a\.bias: .*parameters.*found: \(5,\).*allowed: \(4,\).*next"),
        (one_layer(name="c"), r"^a\.bias: .*parameters.*found: none.*allowed: \(4,\).*next"),
    ],
)
def test_other_networks_are_refused(other: Any, match: str) -> None:
    target = prepared_for(one_layer(), "int8-npu")
    with pytest.raises(InputError, match=f"(?s){match}"):
        carry_weights(prepared_for(other, "int8-npu"), target)


def test_other_grids_and_scales_that_nobody_chose_are_refused() -> None:
    def body(m: Net, x: torch.Tensor) -> torch.Tensor:
        return m.b(torch.softmax(m.a(x), 1))

    layers = {"a": nn.Conv2d(3, 3, 1), "b": nn.Conv2d(3, 3, 1)}
    source = prepared_for(graph_of(body, **layers), "int8-npu")
    with pytest.raises(InputError, match=r"(?s)^x: integers need a calibrated scale.*next"):
        carry_weights(source, prepared_for(graph_of(body, **layers), "int8-npu"))
    recipe = Recipe(layers={"b": LayerRecipe(keep_float=True)})
    with pytest.raises(InputError, match=r"(?s)quantized tensors of both models.*next"):
        carry_weights(source, prepared_for(graph_of(body, **layers), "int8-npu", recipe))
