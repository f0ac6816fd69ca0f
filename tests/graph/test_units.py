"""A model that is not finished, or broken, gives no integers and says which tensor it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from deployq.errors import InputError, UnsupportedError
from deployq.graph.capture import capture
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import grid_of, layer_integers, linear_calls, rescued_channels
from deployq.graph.preparation import PreparedModel
from tests.graph.networks import (
    Net,
    calibrated,
    conv,
    images,
    prepared_for,
    profile_with,
    residual_for,
    residual_graph,
)

NAN = float("nan")


def test_an_uncalibrated_model_has_no_integers() -> None:
    prepared = prepared_for(residual_graph(), "int8-npu")
    with pytest.raises(InputError, match=r"(?s)x: integers need.*next: run deployq\.calibrate"):
        layer_integers(prepared)
    with pytest.raises(InputError, match=r"(?s)x: integers need.*next: run deployq\.calibrate"):
        grid_of(prepared.module, next(linear_calls(prepared)).source)


def test_the_first_uncalibrated_tensor_is_named() -> None:
    prepared = residual_for("int8-npu")
    prepared.units()["wide"].weight_quantizer.calibrated = False
    with pytest.raises(InputError, match=r"wide\.weight: "):
        layer_integers(prepared)
    prepared.quantizers()["head"].calibrated = False  # of the output, which no layer reads
    with pytest.raises(InputError, match=r"head: "):
        layer_integers(prepared)


def _set(name: str, value: float) -> Callable[[PreparedModel], None]:
    def break_it(prepared: PreparedModel) -> None:
        prepared.module.state_dict()[name].view(-1)[0] = value

    return break_it


@pytest.mark.parametrize(
    ("break_it", "where"),
    [
        (_set("stem.weight", NAN), "stem: weight"),
        (_set("head.bias", float("inf")), "head: bias"),
        (_set("stem_norm.weight", NAN), "stem: BatchNorm gamma"),
        (_set("stem_norm.bias", NAN), "stem: BatchNorm beta"),
        (_set("wide_norm.running_mean", NAN), "wide: BatchNorm mean"),
        (_set("wide_norm.running_var", NAN), "wide: BatchNorm variance"),
        (_set("wide_norm.running_var", -1.0), "wide: BatchNorm 1 / sqrt"),
        (_set("deployq.layers.wide.weight_quantizer.scale", NAN), "wide.weight: scale"),
        (_set("deployq.activations.head.scale", float("inf")), "head: scale"),
        (_set("stem_norm.weight", 3e38), "stem.weight: scale after the BatchNorm"),
    ],
)
@pytest.mark.parametrize("target", ["int8-npu"])
def test_numbers_that_are_not_finite_are_refused_by_name(
    break_it: Callable[[PreparedModel], None], where: str, target: str
) -> None:
    prepared = residual_for(target)
    if where.endswith("after the BatchNorm"):
        prepared.units()["stem"].weight_quantizer.scale.data.fill_(1e3)
    break_it(prepared)
    with pytest.raises(InputError, match=rf"(?s){where}.*found: \d+ of \d+.*next: "):
        layer_integers(prepared)


def test_the_flag_travels_with_the_configuration() -> None:
    quantizer = next(iter(residual_for("int8-npu").quantizers().values()))
    assert quantizer.calibrated and FakeQuantize.from_config(quantizer.config()).calibrated
    fresh = next(iter(prepared_for(residual_graph(), "int8-npu").quantizers().values()))
    assert not FakeQuantize.from_config(fresh.config()).calibrated


def one_layer(limit: int) -> PreparedModel:
    net = Net(lambda m, x: m.conv(x), conv=conv(3, 2, size=1))
    net.conv.weight.data = torch.tensor([[1.0, 0.5, 0.0], [1.0, -1.0, 1.0]]).reshape(2, 3, 1, 1)
    return calibrated(net, profile_with("int8-npu", weight__sum_abs_max={8: limit}))


def test_the_sum_of_a_channel_stays_within_the_adder_tree() -> None:
    largest = int(np.abs(layer_integers(one_layer(10**6))["conv"].codes.codes).sum((1, 2, 3)).max())
    layer_integers(one_layer(largest))
    expected = rf"(?s)conv\.weight, output channel 1: .*found: {largest}.*up to {largest - 1}"
    with pytest.raises(UnsupportedError, match=expected):
        layer_integers(one_layer(largest - 1))


def test_channels_that_became_their_bias_are_listed_by_layer() -> None:
    prepared = residual_for("int8-npu")
    assert rescued_channels(layer_integers(prepared)) == {}
    prepared.module.get_parameter("depth_norm.weight").data[2] = 0.0
    assert rescued_channels(layer_integers(prepared)) == {"depth": (2,)}


def test_saturated_biases_of_one_scale_are_listed_too() -> None:
    net = Net(lambda m, x: m.fc(x.flatten(1)), fc=nn.Linear(108, 3))
    net.fc.bias.data[1] = 1e9
    profile = profile_with("int8-npu", weight__granularity=["tensor"], weight__axis={})
    prepared = calibrated(net, profile)
    integers = layer_integers(prepared)
    assert rescued_channels(integers) == {"fc": (1,)}
    assert integers["fc"].codes.bias[1] == 2**31 - 1


def test_a_pinned_scale_needs_no_calibration() -> None:
    graph = capture(Net(lambda m, x: m.conv(x).sigmoid(), conv=conv(3, 2)), [images(2)])
    quantizers = prepared_for(graph, "int8-npu").quantizers()
    assert {n: q.calibrated for n, q in quantizers.items()} == {
        "x": False, "conv": False, "sigmoid": True,
    }  # fmt: skip
