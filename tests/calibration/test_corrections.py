"""Corrections: what each keeps, what each makes smaller, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.errors import InputError
from deployq.graph.batch_norm import BatchNormTensors
from deployq.graph.capture import capture
from deployq.graph.integers import layer_integers, linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.graph.prepared_files import load_prepared_model, save_prepared_model
from deployq.graph.scales.lattice import has_weight_lattice
from deployq_calibration import calibrate_model
from deployq_calibration.corrections import (
    AFTER,
    CorrectionSettings,
    correct_biases,
    correct_model,
    equalize,
    learn_rounding,
    streams,
)
from deployq_calibration.corrections.blocks import find_blocks, linear_nodes, widest
from deployq_calibration.corrections.modes import in_float
from deployq_calibration.corrections.pairs import find_pairs
from deployq_calibration.corrections.soft_weights import SoftWeight
from deployq_calibration.corrections.streams import Stream
from deployq_exporters.lowering import lower, to_proto
from tests.graph.networks import Net, conv, images, prepared_for, residual_graph

QUICK = CorrectionSettings(iterations=80, batch=8, learning_rate=0.1, scale_rate=0.003)


def data() -> Tensor:
    """Channels that go together, as in pictures: on white noise the nearest codes are best."""
    return 0.2 * images() + images(channels=1, seed=2)


def batches() -> list[tuple[Tensor]]:
    return [(data(),)]


def chain(first: str = "relu", second: str = "relu") -> PreparedModel:
    """A convolution with BatchNorm, a depthwise and a plain one, with ranges far apart."""

    def body(m: Net, x: Tensor) -> Tensor:
        x = getattr(F, first)(m.norm(m.a(x)))
        return m.c(getattr(F, second)(m.depth(x)))

    torch.manual_seed(3)
    layers = {"a": conv(3, 4), "norm": nn.BatchNorm2d(4), "depth": conv(4, 4, groups=4)}
    net = Net(body, **layers, c=conv(4, 2)).eval()
    with torch.no_grad():
        net.norm.weight.copy_(torch.tensor([4.0, -0.02, 1.0, 9.0]))
        net.norm.bias.normal_()
        net.depth.weight.mul_(torch.tensor([0.01, 3.0, 1.0, 20.0]).reshape(-1, 1, 1, 1))
    return prepared_for(capture(net, [images(2)]), "int4-npu")


def calibrated(target: str = "int4-npu") -> PreparedModel:
    prepared = prepared_for(residual_graph(), target)
    calibrate_model(prepared, batches)
    return prepared


def float_output(prepared: PreparedModel) -> Tensor:
    with in_float(prepared.module), torch.no_grad():
        return prepared.module(data())


def test_equalization_keeps_the_function_and_equalizes_every_pair() -> None:
    prepared = chain()
    before = float_output(prepared)
    changes = equalize(prepared, batches, QUICK)
    assert [change.name for change in changes] == ["a -> depth", "depth -> c"]
    assert all(change.before > 1 and change.after < 0.01 for change in changes)
    # factors are no powers of two: a few float32 roundings a layer
    torch.testing.assert_close(float_output(prepared), before, rtol=1e-5, atol=1e-5)
    for pair in find_pairs(prepared.module)[0]:
        torch.testing.assert_close(*pair.ranges(), rtol=1e-3, atol=0.0)


def test_bounded_ranges_are_not_equalized() -> None:
    prepared = chain(first="relu6")
    before = {name: tensor.clone() for name, tensor in prepared.module.state_dict().items()}
    first, second = equalize(prepared, batches, QUICK)
    assert (first.name, second.name) == ("depth -> c", "a -> depth")
    assert second.skipped == "the range between them is bounded"
    after = prepared.module.state_dict()
    assert torch.equal(after["norm.weight"], before["norm.weight"])
    assert not torch.equal(after["c.weight"], before["c.weight"])


def test_a_layer_with_two_readers_is_no_pair() -> None:
    net = Net(lambda m, x: m.b(y := F.relu(m.a(x))) + y, a=conv(3, 3), b=conv(3, 3))
    prepared = prepared_for(capture(net, [images(2)]), "int8-npu")
    assert equalize(prepared, batches, QUICK) == ()


def test_a_shared_weight_is_no_pair_and_learns_nothing() -> None:
    net = Net(lambda m, x: m.a(F.relu(m.a(x))), a=conv(3, 3, bias=True))
    prepared = prepared_for(capture(net, [images(2)]), "int4-npu")
    assert equalize(prepared, batches, QUICK)[0].skipped == "a tensor is read twice"
    calibrate_model(prepared, batches)
    before = prepared.module.get_parameter("a.weight").clone()
    skipped = [change.skipped for change in learn_rounding(prepared, batches, QUICK)]
    assert skipped == ["another layer reads its weight"] * 2
    assert torch.equal(prepared.module.get_parameter("a.weight"), before)
    skipped = [change.skipped for change in correct_biases(prepared, batches, QUICK)]
    assert skipped == ["another layer reads its bias"] * 2


def unit_means(prepared: PreparedModel) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, y: Tensor) -> None:
            found[name] = y.movedim(1, 0).flatten(1).mean(1)

        return hook

    handles = [u.register_forward_hook(watch(name)) for name, u in prepared.units().items()]
    with torch.no_grad():
        prepared.module(data())
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("target", ["int4-npu", "lowbit-vlsi"])
def test_bias_correction_removes_the_mean_error_of_every_layer(target: str) -> None:
    prepared = calibrated(target)
    with in_float(prepared.module):
        wanted = unit_means(prepared)
    off = {name: mean - wanted[name] for name, mean in unit_means(prepared).items()}
    assert all(error.abs().max() > 1e-4 for error in off.values())
    changes = correct_biases(prepared, batches, QUICK)
    assert [change.name for change in changes] == list(wanted)
    assert all(change.after < 1e-3 * change.before for change in changes)
    for name, mean in unit_means(prepared).items():
        torch.testing.assert_close(mean, wanted[name], rtol=1e-4, atol=1e-5)  # float32 sums


def test_a_layer_without_a_bias_gets_one(tmp_path: Path) -> None:
    net = Net(lambda m, x: m.a(F.relu(x)), a=conv(3, 2, bias=False))
    prepared = prepared_for(capture(net, [images(2)]), "int4-npu")
    calibrate_model(prepared, batches)
    correct_biases(prepared, batches, QUICK)
    assert prepared.module.get_parameter("a.bias").abs().max() > 0
    save_prepared_model(prepared, tmp_path)
    loaded = load_prepared_model(tmp_path)
    assert torch.equal(loaded.module(data()), prepared.module(data()))
    assert (layer_integers(prepared)["a"].codes.bias != 0).any()


def test_biases_go_back_where_the_mean_is_of_other_rows_than_those_that_count() -> None:
    """The output reads a first row below zero; the mean is that of seven rows above it."""
    torch.manual_seed(0)
    net = Net(lambda m, x: m.a(x)[:, 0], a=nn.Linear(16, 4))
    rows = torch.ones(64, 8, 16) + 0.1 * torch.randn(64, 8, 16)
    rows[:, 0] -= 3
    prepared = prepared_for(capture(net, [rows[:2]]), "int4-npu")
    calibrate_model(prepared, lambda: [(rows,)])
    before = prepared.module.get_parameter("a.bias").clone()
    (change,) = correct_biases(prepared, lambda: [(rows,)], QUICK)
    assert (change.name, change.skipped) == ("network", "the outputs went further away")
    assert torch.equal(prepared.module.get_parameter("a.bias"), before)


def weight_steps(prepared: PreparedModel) -> dict[str, Tensor]:
    """What rounding to the nearest sees, in units of the scale, by layer."""
    found = {}
    for call in linear_calls(prepared):
        scaled = call.unit.scaled_weight(call.weight, BatchNormTensors.of(*call.rest[1:]))
        scale = call.unit.weight_quantizer.scale.reshape(-1, *[1] * (scaled.ndim - 1))
        found[call.name] = (scaled / scale).detach().clone()
    return found


@pytest.mark.parametrize("target", ["int4-npu", "lowbit-vlsi"])
def test_learned_codes_are_floor_or_ceiling_and_the_error_falls(target: str) -> None:
    prepared = calibrated(target)
    before, moved = weight_steps(prepared), 0
    changes = learn_rounding(prepared, batches, QUICK)
    assert [c.name for c in changes] == ["stem", "add", "head"]
    most = 1.0 if has_weight_lattice(prepared.profile) else 0.9  # on a lattice no scale learns
    assert all(c.after < most * c.before for c in changes), changes
    for name, steps in weight_steps(prepared).items():
        codes, qtype = steps.round(), prepared.units()[name].weight_quantizer.qtype
        torch.testing.assert_close(steps, codes, rtol=1e-6, atol=1e-6)  # centres of cells
        floor = before[name].floor()
        allowed = floor.clamp(qtype.qmin, qtype.qmax), (floor + 1).clamp(qtype.qmin, qtype.qmax)
        assert ((codes == allowed[0]) | (codes == allowed[1])).all()
        moved += int((codes != before[name].round().clamp(qtype.qmin, qtype.qmax)).sum())
    assert moved > 0


def test_the_learned_integers_are_those_that_lowering_writes() -> None:
    prepared, learned = calibrated(), {}
    for block in find_blocks(prepared.module):
        for node in linear_nodes(prepared.module, block.nodes):
            layer = SoftWeight(prepared.module, node, any_scale=True)
            with torch.no_grad():
                layer.position.normal_()
                layer.gain.uniform_(0.9, 1.1)
            learned[str(node.meta["name"])] = layer.codes()
            layer.settle()
    file = to_proto(lower(prepared, prepared.profile))
    written = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    for name, integers in layer_integers(prepared).items():
        assert not integers.codes.rescued
        assert np.array_equal(integers.codes.codes, learned[name].numpy())
        assert np.array_equal(written[f"{name}.weight.codes"], learned[name].numpy())


def test_a_block_that_gets_no_better_stays() -> None:
    prepared = calibrated()
    before = {name: tensor.clone() for name, tensor in prepared.module.state_dict().items()}
    wild = CorrectionSettings(iterations=3, batch=8, learning_rate=50.0, scale_rate=2.0)
    for change in learn_rounding(prepared, batches, wild):
        assert change.skipped == "rounding to the nearest has less error"
    after = prepared.module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_channel_that_batch_norm_turns_off_keeps_zero_codes() -> None:
    prepared = calibrated("lowbit-vlsi")
    prepared.module.get_parameter("stem_norm.weight").data[1] = 0.0
    before = prepared.module.get_parameter("stem.weight")[1].clone()
    learn_rounding(prepared, batches, QUICK)
    assert torch.equal(prepared.module.get_parameter("stem.weight")[1], before)
    assert (layer_integers(prepared)["stem"].codes.codes[1] == 0).all()


def test_a_seed_gives_the_same_integers() -> None:
    found = []
    for seed in (0, 0, 1):
        prepared = calibrated()
        learn_rounding(prepared, batches, CorrectionSettings(iterations=20, batch=4, seed=seed))
        found.append(prepared.module.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_eight_bits_are_left_to_bias_correction() -> None:
    prepared = calibrated("int8-npu")
    before = prepared.module.get_parameter("stem.weight").clone()
    assert learn_rounding(prepared, batches, QUICK) == ()
    assert torch.equal(prepared.module.get_parameter("stem.weight"), before)


def test_modes_and_quantizers_are_put_back() -> None:
    prepared = calibrated()
    prepared.module.train()
    statistics = prepared.module.get_buffer("stem_norm.running_mean").clone()
    correct_model(prepared, batches, QUICK)
    assert all(module.training for module in prepared.module.modules())
    assert all(quantizer.enabled for quantizer in prepared.quantizers().values())
    assert torch.equal(prepared.module.get_buffer("stem_norm.running_mean"), statistics)
    assert all(p.grad is None for p in prepared.module.parameters())


def test_blocks_are_the_regions_between_single_tensors() -> None:
    module = prepared_for(residual_graph(), "int4-npu").module
    whole, apart = find_blocks(module), find_blocks(module, most_layers=1)
    assert [len(linear_nodes(module, block.nodes)) for block in whole] == [0, 1, 2, 0, 1]
    assert [len(linear_nodes(module, block.nodes)) for block in apart if block] == [
        0,
        1,
        1,
        1,
        0,
        0,
        1,
    ]
    for blocks in (whole, apart):
        nodes = [node for block in blocks for node in block.nodes]
        assert nodes == [n for n in module.graph.nodes if n.op in ("call_module", "call_function")]


@pytest.mark.parametrize("most_layers", [1, 6])
def test_streams_give_what_the_network_gives(most_layers: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(streams, "ROWS", 3)
    monkeypatch.setattr(streams, "MEMORY_BYTES", 1000)  # larger tensors go to files
    prepared = calibrated()
    stream = Stream(prepared, (data(),))
    for block in find_blocks(prepared.module, most_layers):
        stream.advance(block)
    (output,) = stream.values.values()
    torch.testing.assert_close(output, prepared.module(data()))


def test_corrections_run_around_the_choice_of_scales() -> None:
    prepared, told = chain(), []
    names = ("tuning", "bias", "equalization", "rounding")
    changes = correct_model(
        prepared, batches, QUICK, names=names,
        calibrate=lambda: calibrate_model(prepared, batches), progress=told.append,
    )  # fmt: skip
    order = list(dict.fromkeys(change.correction for change in changes))
    assert order == ["equalization", "rounding", "bias", "tuning"]
    assert list(dict.fromkeys(told)) == ["equalize", "learn rounding", "correct biases", "tune"]
    assert all(set(c.to_json()) >= {"correction", "name"} for c in changes)


def test_an_unknown_name_changes_nothing() -> None:
    prepared = chain()
    with pytest.raises(InputError, match=r"(?s)must exist.*found: adaround.*allowed: smooth.*none"):
        correct_model(prepared, batches, QUICK, names=("equalization", "adaround"))
    assert find_pairs(prepared.module)[0][0].octaves() > 1


@pytest.mark.parametrize("correction", AFTER.values())
def test_no_data_is_refused(correction: Any) -> None:
    with pytest.raises(InputError, match=r"(?s)at least one batch.*found: none.*next: "):
        correction(calibrated(), list, QUICK, lambda stage: None)


@pytest.mark.parametrize(("values", "samples"), [(1, 32), (32_768, 32), (100_000, 10), (10**7, 4)])
def test_large_maps_take_fewer_samples_a_step(values: int, samples: int) -> None:
    assert CorrectionSettings().batch_of(values) == samples


def test_the_widest_tensor_of_a_block_may_lie_inside() -> None:
    prepared = calibrated()
    sample = images(1)
    stream = Stream(prepared, (sample,))
    sizes = []
    for block in find_blocks(prepared.module):
        sizes.append(widest(prepared.module, block, stream.rows(block, slice(0, 1))))
        stream.advance(block)
        made = [stream.values[node].numel() for node in block.outputs if node in stream.values]
        assert sizes[-1] >= max(made, default=0)
    assert max(sizes) > max(sample.numel(), sizes[-1])
