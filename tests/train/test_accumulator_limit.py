"""Weights whose sums fit: the proof over the written file, which knows nothing of how, passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deployq.accumulators import prove_accumulators
from deployq.arithmetic.intervals import Interval
from deployq.arithmetic.sum_bounds import channel_bounds
from deployq.errors import AccumulatorOverflowError, InputError
from deployq.graph.capture import capture
from deployq.graph.code_ranges import input_values
from deployq.graph.integers import layer_integers, linear_calls
from deployq.graph.preparation import PreparedModel, prepare_graph
from deployq.graph.recipe import Recipe
from deployq.overflow.facts import Verdict
from deployq.train import AccumulatorLimit, learn_scales
from deployq_calibration import calibrate_model
from deployq_exporters.lowering import lower, to_proto
from deployq_targets import TargetProfile
from tests.graph.networks import Net, calibrated, conv, profile_with, with_statistics
from tests.overflow.layers import register
from tests.train.digits import data, prepared_on, train_on

NARROW = Recipe(weight_bits=4, activation_bits=4)


def bounds(prepared: PreparedModel) -> dict[str, list[Interval]]:
    """The sums of each channel by layer, over whole windows."""
    found = {}
    for call in linear_calls(prepared):
        codes = layer_integers(prepared)[call.name].codes
        rows, bias = codes.codes.reshape(len(codes.codes), -1, 1, 1), codes.bias.tolist()
        channels = channel_bounds(input_values(prepared, call), rows, bias, [0] * len(bias))
        found[call.name] = [channel.finished for channel in channels]
    return found


def failing(prepared: PreparedModel) -> dict[str, list[int]]:
    """Layer to the channels that leave the accumulator."""
    accumulator = prepared.profile.accumulator.contract()
    found = {
        name: [index for index, sums in enumerate(channels) if not sums.fits(accumulator)]
        for name, channels in bounds(prepared).items()
    }
    return {name: wide for name, wide in found.items() if wide}


def test_training_under_a_narrow_accumulator_learns_and_the_proof_passes() -> None:
    prepared = prepared_on(register(13, base="lowbit-vlsi"), NARROW)
    limit = AccumulatorLimit(prepared)
    assert failing(prepared)
    learn_scales(prepared)
    limit.project()
    losses = train_on(prepared, steps=12, after=limit.project)
    for unit in prepared.units().values():  # statistics of a few steps lag behind the weights
        unit.frozen_statistics = True
    losses += train_on(prepared, steps=30, after=limit.project)
    limit.project()
    written = to_proto(lower(prepared, prepared.profile))
    for bits, verdict in ((13, Verdict.FITS), (12, Verdict.OVERFLOWS)):
        proof = prove_accumulators(written, register(bits, base="lowbit-vlsi"))
        found = {layer.verdict(proof.accumulator) for layer in proof.layers}
        assert verdict in found and (verdict is Verdict.OVERFLOWS or len(found) == 1)
    assert losses[-1] < losses[0] / 2
    x, y = data()
    assert (prepared.module(x).argmax(1) == y).float().mean() > 0.85


def test_only_channels_that_do_not_fit_are_touched_and_no_more_than_needed() -> None:
    prepared = prepared_on(register(13, base="lowbit-vlsi"), NARROW)
    before = {c.name: c.weight.detach().clone() for c in linear_calls(prepared)}
    wide = failing(prepared)
    assert wide and all(len(wide.get(n, [])) < len(w) for n, w in before.items())
    assert AccumulatorLimit(prepared).project() == tuple(wide)
    assert failing(prepared) == {}
    high = prepared.profile.accumulator.contract().high
    for call in linear_calls(prepared):
        touched = (call.weight != before[call.name]).flatten(1).any(1)
        assert torch.nonzero(touched).flatten().tolist() == wide.get(call.name, [])
    for name, channels in bounds(prepared).items():
        # a threshold lowers several codes at once
        assert all(channels[index].reach > 0.7 * high for index in wide.get(name, []))
    assert AccumulatorLimit(prepared).project() == ()


def test_the_penalty_is_what_channels_exceed() -> None:
    """One layer of whole codes: the excess by hand, and its slope."""
    net = Net(lambda m, x: m.a(x), a=nn.Linear(4, 2, bias=False)).eval()
    net.a.weight.data = torch.tensor([[7.0, -7.0, 3.0, 0.0], [1.0, 0.0, 0.0, -1.0]])
    prepared = calibrated_rows(net, register(9, base="lowbit-vlsi"))  # -256..255
    unit, source = prepared.units()["a"], prepared.quantizers()["x"]
    unit.weight_quantizer.set_qparams(torch.ones(2), torch.tensor(0))
    limit = AccumulatorLimit(prepared)
    assert source.qtype.name == "s8"  # codes -128..127
    high, low = 127 * 10 + 128 * 7, 128 * 10 + 127 * 7
    expected = (high - 255 + low - 256 + 0 + 0) / 255
    weight = prepared.module.get_parameter("a.weight")
    assert float(limit.penalty().detach()) == pytest.approx(expected, rel=1e-6)
    limit.penalty().backward()
    assert weight.grad is not None
    assert weight.grad[0].tolist() == pytest.approx([1.0, -1.0, 1.0, 0.0])
    assert weight.grad[1].tolist() == [0.0] * 4
    limit.project()
    # what is left lies between weights and their codes
    assert float(limit.penalty().detach()) < expected / 10
    assert torch.equal(weight[1], net.a.weight[1]) and failing(prepared) == {}


def calibrated_rows(net: nn.Module, profile: TargetProfile) -> PreparedModel:
    torch.manual_seed(0)
    prepared = prepare_graph(capture(net, [torch.zeros(2, 4)]), profile)
    calibrate_model(prepared, lambda: [(torch.randn(32, 4),)])
    return prepared


def test_the_penalty_alone_brings_sums_down() -> None:
    prepared = prepared_on(register(13, base="lowbit-vlsi"), NARROW)
    limit = AccumulatorLimit(prepared)
    parameters = [p for n, p in prepared.module.named_parameters() if n.endswith("weight")]
    optimizer = torch.optim.Adam([p for p in parameters if p.requires_grad], 1e-3)
    found = []
    for _ in range(10):
        optimizer.zero_grad()
        penalty = limit.penalty()
        penalty.backward()
        optimizer.step()
        found.append(float(penalty.detach()))
    assert 0 < found[-1] < found[0]


def depthwise() -> nn.Conv2d:
    """The first channel has a third of its weights."""
    layer = conv(3, 3, groups=3)
    layer.weight.data[0, 0, 1:] = 0.0
    return layer


LAYERS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "grouped": (lambda: conv(3, 6, groups=3, bias=True), "int8-npu", "absorb"),
    "depthwise": (depthwise, "lowbit-vlsi", "fold"),
    "transposed": (lambda: nn.ConvTranspose2d(3, 6, 3, stride=2), "int8-npu", "absorb"),
    "grouped, transposed": (lambda: nn.ConvTranspose2d(3, 6, 2, groups=3), "int8-npu", "fold"),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer_fits_in_its_own_channels(kind: str) -> None:
    """An accumulator of half of what they need; gammas of both signs."""
    torch.manual_seed(3)
    make, base, mode = LAYERS[kind]
    layer = make()
    parts = {"a": layer, "norm": nn.BatchNorm2d(layer.out_channels)}
    net = with_statistics(Net(lambda m, x: F.relu(m.norm(m.a(x))), **parts)).eval()
    net.norm.bias.data.mul_(0.01), net.norm.running_mean.mul_(0.01)
    prepared = calibrated(net, base)
    assert prepared.units()["a"].batch_norm == mode
    (worst,) = bounds(prepared).values()
    bits = max(interval.bits for interval in worst) - 1
    prepared = replace(prepared, profile=register(bits, base=base))
    wide, before = failing(prepared), layer_integers(prepared)["a"].codes.codes
    assert 0 < len(wide["a"]) < len(before)
    AccumulatorLimit(prepared).project()
    after = layer_integers(prepared)["a"].codes.codes
    changed = (after != before).reshape(len(before), -1).any(1)
    assert np.flatnonzero(changed).tolist() == wide["a"] and failing(prepared) == {}


def test_the_adder_tree_is_a_limit_too() -> None:
    net = Net(lambda m, x: m.a(x), a=conv(3, 4)).eval()
    prepared = calibrated(net, profile_with("int8-npu", weight__sum_abs_max={8: 300}))
    assert AccumulatorLimit(prepared).project() == ("a",)
    (layer,) = layer_integers(prepared).values()  # refuses more
    sums = np.abs(layer.codes.codes).reshape(4, -1).sum(1)
    assert (sums <= 300).all() and (sums > 250).all()


def test_a_kept_clamp_narrows_the_codes() -> None:
    """Symmetric signed codes behind a ReLU: what the file's ranges say, no more."""
    net = Net(lambda m, x: m.b(F.max_pool2d(F.relu(m.a(x)), 2)), a=conv(3, 3), b=conv(3, 3)).eval()
    prepared = calibrated(net, profile_with("lowbit-vlsi", activation__types=["s8", "s4"],
                                            activation__bits=[8, 4]))  # fmt: skip
    ranges = {c.name: input_values(prepared, c) for c in linear_calls(prepared)}
    assert ranges == {"a": Interval(-128, 127), "b": Interval(0, 127)}


@pytest.mark.parametrize("norm", [True, False])
def test_a_bias_that_fills_the_accumulator_is_lowered_by_what_is_added_last(norm: bool) -> None:
    parts: dict[str, Any] = {"a": conv(3, 4, bias=not norm)}
    parts |= {"norm": nn.BatchNorm2d(4)} if norm else {}
    net = Net(lambda m, x: m.norm(m.a(x)) if norm else m.a(x), **parts).eval()
    added = net.norm.bias if norm else net.a.bias
    added.data = torch.tensor([0.1, -0.1, 50.0, -50.0])
    prepared = calibrated(net, register(13, base="lowbit-vlsi"))
    assert {2, 3} <= {*failing(prepared)["a"]}
    AccumulatorLimit(prepared).project()
    assert failing(prepared) == {}
    (layer,) = layer_integers(prepared).values()
    assert np.abs(layer.codes.bias[2:]).tolist() == pytest.approx([2048, 2048], abs=1)
    name = "norm.bias" if norm else "a.bias"
    assert torch.equal(prepared.module.get_parameter(name)[:2], added.data[:2])


@pytest.mark.parametrize("powers", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1e-38])
def test_scales_that_learn_give_way_to_biases(powers: bool, scale: float) -> None:
    """Also one that fell to almost nothing, whose channel would be rescued."""
    net = Net(lambda m, x: m.a(x), a=conv(3, 4, bias=True)).eval()
    net.a.bias.data = torch.tensor([0.1, -0.1, 50.0, -50.0])
    form = {"weight__scale_form": "pow2", "activation__scale_form": "pow2"} if powers else {}
    prepared = calibrated(net, profile_with("lowbit-vlsi", **form))
    prepared = replace(prepared, profile=register(13, base="lowbit-vlsi"))
    quantizer = prepared.units()["a"].weight_quantizer
    quantizer.set_qparams(quantizer.scale * torch.tensor([1, 1, 1, scale]), torch.tensor(0))
    learn_scales(prepared)
    before = quantizer.effective_scale().detach().clone()
    AccumulatorLimit(prepared).project()
    assert failing(prepared) == {}
    found, after = layer_integers(prepared)["a"].codes, quantizer.effective_scale().detach()
    assert torch.equal(after[:2], before[:2]) and (after[2:] > before[2:]).all()
    assert not powers or (np.frexp(after.numpy())[0] == 0.5).all()
    bias = np.abs(found.bias[2:] * found.bias_scale[2:])
    assert bias.tolist() == pytest.approx([50.0, 50.0], rel=1e-3)


def test_a_bias_that_nothing_lowers_is_refused() -> None:
    parts = {"a": conv(3, 4), "norm": nn.BatchNorm2d(4, affine=False)}
    net = Net(lambda m, x: m.norm(m.a(x)), **parts).eval()
    net.norm.running_mean[2] = 50.0
    prepared = calibrated(net, register(12, base="lowbit-vlsi"))
    with pytest.raises(
        AccumulatorOverflowError,
        match=r"(?s)^a\.bias, output channel 2: .*found: -\d+ steps.*allowed: -2048\.\.2047.*next",
    ):
        AccumulatorLimit(prepared).project()


def test_numbers_that_are_not_finite_are_refused() -> None:
    prepared = calibrated(
        Net(lambda m, x: m.a(x), a=conv(3, 4)).eval(), register(12, base="lowbit-vlsi")
    )
    prepared.module.get_parameter("a.weight").data[0] = torch.nan
    limit = AccumulatorLimit(prepared)
    for call in (limit.penalty, limit.project):
        with pytest.raises(InputError, match=r"(?s)^a: weight: .*NaN.*next"):
            call()
