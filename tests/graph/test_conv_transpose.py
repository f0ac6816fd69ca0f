"""Transposed convolutions: placement, BatchNorm on their other channel axis, integers, the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deployq.arithmetic.contract import QDQ
from deployq.arithmetic.geometry import ConvTransposeGeometry
from deployq.arithmetic.weight_layout import inputs_first, outputs_first
from deployq.errors import ProfileError, UnsupportedError
from deployq.graph.batch_norm import BatchNormTensors
from deployq.graph.codes import evaluate_codes, evaluate_steps
from deployq.graph.integers import layer_integers, linear_calls
from deployq.graph.operator_rules import group_of
from deployq.graph.placement import place
from deployq.graph.prepared_files import load_prepared_model, save_prepared_model
from deployq.graph.recipe import Recipe
from deployq.graph.sites import find_sites
from deployq.qgraph import read_graph
from deployq.qparams import PerChannel, PerTensor
from deployq.simulator import run_graph
from deployq.train import learn_scales
from deployq_exporters.lowering import lower, to_proto
from deployq_targets import load_profile
from deployq_targets.words import Group
from tests.graph.networks import Net, calibrated, conv, graph_of, images, with_statistics

CASES: dict[str, dict[str, Any]] = {
    "plain": {"kernel_size": 3, "padding": 1},
    "doubling": {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    "dilated": {"kernel_size": (2, 3), "stride": (1, 2), "dilation": (3, 2), "bias": False},
    "grouped": {"kernel_size": 2, "stride": 2, "groups": 2},
    "depthwise": {"kernel_size": 3, "stride": 3, "groups": 4, "output_padding": 2},
}
cases = pytest.mark.parametrize("case", CASES)


def net(case: str, norm: bool = True) -> nn.Module:
    """conv, transposed convolution of 4 to 8 channels, BatchNorm with gammas of both signs, ReLU"""
    torch.manual_seed(0)
    model = Net(
        lambda m, x: F.relu(m.norm(m.up(m.conv(x)))),
        conv=conv(3, 4), up=nn.ConvTranspose2d(4, 8, **CASES[case]),
        norm=nn.BatchNorm2d(8) if norm else nn.Identity(),
    )  # fmt: skip
    return with_statistics(model).eval()


@cases
def test_the_grid_network_is_the_float_network_without_its_grids(case: str) -> None:
    """Signs, factors and layouts in their places: with fine grids the outputs agree."""
    model, x = net(case), images()
    expected = model(x)
    prepared = calibrated(model, "int8-npu")
    for unit in (*prepared.quantizers().values(), *prepared.module.modules()):
        if hasattr(unit, "enabled"):
            unit.enabled = False
    # a folded or moved factor: a dozen float32 roundings of values below 30
    torch.testing.assert_close(prepared.module(x), expected, atol=2e-5, rtol=1e-5)


@cases
@pytest.mark.parametrize("norm", [True, False])
def test_the_reference_differs_from_the_float_network_near_ties_only(case: str, norm: bool) -> None:
    prepared, x = calibrated(net(case, norm), "int8-npu"), images(32)
    codes = evaluate_codes(prepared, QDQ, x)
    steps = evaluate_steps(prepared, QDQ, x, names=["up"]).steps["up"]
    with torch.no_grad():
        scale, zero_point = prepared.quantizers()["up"].scale, -128
        found = torch.round(prepared.module(x) / scale) + zero_point
    gap = (found - codes["up"]).abs()
    off = (steps - steps.floor() - 0.5).abs()[gap > 0]
    # the int32 bias is within half of s_x s_w, and the float sum within float32 of the exact one
    bias_step = float(layer_integers(prepared)["up"].codes.bias_scale.max() / scale)
    assert gap.max() <= 1 and (off <= bias_step / 2 + 1e-3).all()
    assert len(codes["up"].unique()) > 64


@cases
@pytest.mark.parametrize("target", ["int8-npu", "ort-cpu"])
def test_the_file_computes_the_codes_of_the_reference(case: str, target: str) -> None:
    prepared, x = calibrated(net(case), target), images(16)
    contract = prepared.profile.contract()
    graph = read_graph(to_proto(lower(prepared, prepared.profile)))
    found = run_graph(graph, contract, {"x": x.numpy()}).codes
    for name, codes in evaluate_codes(prepared, contract, x).items():
        assert torch.equal(found[f"{name}.codes"], codes), name


def test_channel_scales_lie_along_axis_1() -> None:
    prepared = calibrated(net("doubling"), "int8-npu")
    (_, layer), unit = prepared.plan.layers, prepared.units()["up"]
    assert (layer.op_type, layer.per_channel, layer.batch_norm) == ("ConvTranspose", True, "absorb")
    assert unit.weight_quantizer.granularity == PerChannel(1)
    assert layer.macs == 4 * 6 * 6 * 8 * 9
    model = to_proto(lower(prepared, prepared.profile))
    reads = next(n for n in model.graph.node if n.name == "up.weight.dequantize")
    assert onnx.helper.get_node_attr_value(reads, "axis") == 1
    (node,) = [n for n in model.graph.node if n.op_type == "ConvTranspose"]
    assert node.name == "up"
    weight = next(t for t in model.graph.initializer if t.name == "up.weight.codes")
    assert weight.dims == [4, 8, 3, 3]


@pytest.mark.parametrize("case", ["doubling", "grouped"])
def test_the_codes_in_the_file_are_the_trained_ones(case: str) -> None:
    """Law 2, through both layouts: the quantizer's codes of the user's weight are in the file."""
    prepared = calibrated(net(case), "int8-npu")
    learn_scales(prepared)
    call = next(call for call in linear_calls(prepared) if call.name == "up")
    optimizer = torch.optim.SGD(prepared.module.parameters(), 0.01)
    before = call.unit.weight_quantizer.scale.detach().clone()
    prepared.module.train()(images()).square().mean().backward()
    optimizer.step()
    prepared.module.eval()
    assert not torch.equal(call.unit.weight_quantizer.scale, before)
    groups = call.unit.geometry.groups
    integers = layer_integers(prepared)["up"]
    norm = None if groups == 1 else _norm(prepared)
    with torch.no_grad():
        trained = call.unit.weight_quantizer.codes(call.unit.scaled_weight(call.weight, norm))
    np.testing.assert_array_equal(inputs_first(integers.codes.codes, groups), trained)
    np.testing.assert_array_equal(outputs_first(trained.numpy(), groups), integers.codes.codes)


def _norm(prepared: Any) -> Any:
    call = next(call for call in linear_calls(prepared) if call.name == "up")
    return BatchNormTensors.of(*call.rest[1:])


def test_groups_share_one_scale_and_fold_the_norm() -> None:
    prepared = calibrated(net("grouped"), "int8-npu")
    layer = prepared.plan.layers[1]
    assert (layer.per_channel, layer.batch_norm) == (False, "fold")
    assert prepared.units()["up"].weight_quantizer.granularity == PerTensor()


def test_groups_are_refused_where_every_channel_has_a_scale() -> None:
    rule = r"(?s)up: a transposed convolution with groups.*channel only.*next: use groups = 1"
    with pytest.raises(UnsupportedError, match=rule):
        calibrated(net("grouped"), "int4-npu")


def test_a_target_without_the_operator_refuses_it() -> None:
    with pytest.raises(UnsupportedError, match="lowbit-vlsi runs ConvTranspose as unsupported"):
        calibrated(net("plain"), "lowbit-vlsi")


def test_weights_get_the_width_that_the_operator_takes() -> None:
    layers = calibrated(net("plain"), "int4-npu").plan.layers
    assert [layer.bits for layer in layers] == [4, 8]
    with pytest.raises(ProfileError, match=r"(?s)up: ConvTranspose .*weight_bits.*found: 4"):
        calibrated(net("plain"), "int4-npu", Recipe(weight_bits=4))


def test_a_depthwise_one_goes_by_the_entry_of_its_group() -> None:
    def group(**facts: Any) -> Group:
        graph = graph_of(lambda m, x: m.up(m.a(x)), a=conv(3, 4), up=nn.ConvTranspose2d(4, **facts))
        return next(group_of(s) for s in find_sites(graph).values() if s.name == "up")

    facts = {"out_channels": 8, "kernel_size": 2}
    groups = [group(groups=g, **facts) for g in (1, 2, 4)]
    assert groups == [Group.DENSE, Group.GROUPED, Group.DEPTHWISE]


def test_the_runtime_that_lacks_it_lists_it() -> None:
    graph = graph_of(lambda m, x: m.up(x), up=nn.ConvTranspose2d(3, 2, 2))
    plan = place(graph, load_profile("ort-cpu"), Recipe()).plan
    assert plan.floats == ("up: float, ort-cpu runs ConvTranspose as float",)


def test_it_comes_back_from_disk(tmp_path: Path) -> None:
    prepared, x = calibrated(net("doubling"), "int8-npu"), images()
    save_prepared_model(prepared, tmp_path)
    loaded = load_prepared_model(tmp_path)
    window = ConvTransposeGeometry((2, 2), (1, 1, 1, 1), output_padding=(1, 1))
    assert loaded.units()["up"].geometry == window
    assert torch.equal(loaded.module(x), prepared.module(x))
    found, expected = (evaluate_codes(p, QDQ, x)["up"] for p in (loaded, prepared))
    assert torch.equal(found, expected)
