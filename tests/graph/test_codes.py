"""The reference on codes: what it equals, and what it does not depend on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from deployq import affine
from deployq.arithmetic.contract import QDQ, Accumulator, Contract
from deployq.arithmetic.oracle.lookup import lookup_table
from deployq.errors import AccumulatorOverflowError, InputError, UnsupportedError
from deployq.graph.capture import capture
from deployq.graph.codes import evaluate_codes, evaluate_steps
from deployq.graph.integers import grid_of, layer_integers, linear_calls
from deployq.graph.preparation import PreparedModel
from deployq_calibration import calibrate_model
from deployq_targets import load_profile
from tests.graph.networks import (
    TARGETS,
    Net,
    TwoInputs,
    calibrated,
    conv,
    images,
    prepared_for,
    profile_with,
    residual_for,
)

RESOLUTION = 2.0**-14


def zero_point_of(prepared: PreparedModel, name: str) -> int:
    grid = next(t.name for t in prepared.plan.tensors if name in t.tensors)
    return int(prepared.quantizers()[grid].zero_point)


def scale_of(prepared: PreparedModel, name: str) -> float:
    return prepared.quantizers()[name].scale.item()


def float_run(prepared: PreparedModel, x: Tensor) -> dict[str, Tensor]:
    """Codes of the float fake-quant network, by tensor."""
    found: dict[str, Tensor] = {}
    values: dict[fx.Node, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            values[n] = super().run_node(n)
            if n.op == "call_module" and str(n.target).startswith("deployq.activations."):
                quantizer = prepared.module.get_submodule(str(n.target))
                source = values[n.all_input_nodes[0]]
                found[n.meta["name"]] = quantizer.codes(source)
            return values[n]

    with torch.no_grad():
        Recorder(prepared.module).run(x)
    return found


def layer_bounds(prepared: PreparedModel) -> dict[str, float]:
    """How far, in LSB of the output, a float layer may be from the layer on codes.

    Half a step of the bias code; and float32: a sum of n products, a bias and a BatchNorm of four
    operations err by at most (n + 8) 2**-24 times the sum of magnitudes, in any order (Higham,
    Accuracy and Stability, section 4.2).
    """
    bounds = {}
    integers = layer_integers(prepared)
    for call in linear_calls(prepared):
        layer = integers[call.name]
        out = grid_of(prepared.module, next(iter(_quantizer_after(prepared, call.name)))).scale
        fan_in = call.weight[0].numel()
        real = np.abs(affine.dequantize(layer.codes.codes, layer.weight))
        largest = 2.0**layer.input.qtype.bits * float(layer.input.scale)
        bias = np.abs(layer.codes.bias * layer.codes.bias_scale.astype(np.float64))
        mean = 0.0 if len(call.rest) == 1 else 8.0  # |mean| gamma / sigma of the tests' networks
        magnitude = (real.reshape(len(real), -1).sum(1) * largest + bias + mean).max()
        error = layer.codes.bias_scale.max() / 2 + (fan_in + 8) * 2.0**-24 * magnitude
        bounds[call.name] = float(error / out)
    return bounds


def _quantizer_after(prepared: PreparedModel, name: str) -> Iterator[fx.Node]:
    for node in prepared.module.graph.nodes:
        if str(node.target).startswith("deployq.activations.") and node.meta["name"] == name:
            yield node


@pytest.mark.parametrize("target", TARGETS)
def test_differs_from_the_float_network_near_ties_only(target: str) -> None:
    prepared, x = residual_for(target), images(32)
    expected = float_run(prepared, x)
    found = evaluate_steps(prepared, QDQ, x, forced=expected)
    bounds = layer_bounds(prepared)
    assert max(bounds.values()) < 0.1  # telling: a code drawn at random is 0.25 from a tie
    for name, codes in found.codes.items():
        gap = (codes.long() - expected[name].long()).abs()
        steps = found.steps[name][gap > 0]
        tie = (steps - torch.floor(steps) - 0.5).abs()
        assert gap.max() <= 1
        # other operators: a dozen float32 operations on at most 255 steps
        assert (tie <= bounds.get(name, 12 * 255 * 2.0**-24) + RESOLUTION).all(), name


def test_is_the_same_for_every_batch_size_and_thread_count() -> None:
    prepared, x = residual_for("int4-npu"), images(24)
    whole = evaluate_codes(prepared, QDQ, x)
    with threads(1):
        single = evaluate_codes(prepared, QDQ, x)
    pieces = [evaluate_codes(prepared, QDQ, piece) for piece in (x[:1], x[1:8], x[8:])]
    for name, codes in whole.items():
        assert torch.equal(codes, single[name])
        assert torch.equal(codes, torch.cat([piece[name] for piece in pieces]))


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_does_not_depend_on_the_mode() -> None:
    prepared, x = residual_for("int8-npu"), images()
    expected = evaluate_codes(prepared, QDQ, x)
    prepared.module.train()
    found = evaluate_codes(prepared, QDQ, x)
    assert all(torch.equal(codes, expected[name]) for name, codes in found.items())


@pytest.mark.parametrize("target", ["int8-npu", "int4-npu", "ort-cpu"])
def test_long_multipliers_and_float32_change_codes_near_ties_only(target: str) -> None:
    prepared, x = residual_for(target), images(32)
    exact = evaluate_steps(prepared, QDQ, x)
    found = evaluate_codes(prepared, prepared.profile.contract(), x, forced=exact.codes)
    for name, codes in found.items():
        gap = (codes.long() - exact.codes[name].long()).abs()
        steps = exact.steps[name][gap > 0]
        # Q31 is within 2**-31 and float32 within a few 2**-24 of at most 255 steps; law 12 b
        assert gap.max() <= 1 and ((steps - torch.floor(steps) - 0.5).abs() <= 1e-3).all()


@pytest.mark.parametrize("target", TARGETS)
def test_codes_are_the_rounded_steps(target: str) -> None:
    prepared, x = residual_for(target), images()
    found = evaluate_steps(prepared, QDQ, x)
    assert found.steps.keys() == found.codes.keys()
    for grid in prepared.plan.tensors:
        for name in grid.tensors:
            steps, zero = found.steps[name], zero_point_of(prepared, name)
            assert steps.dtype is torch.float64
            low, high = (torch.round(steps + e) + zero for e in (-RESOLUTION, RESOLUTION))
            codes = found.codes[name].double()
            low, high = (e.clamp(grid.qtype.qmin, grid.qtype.qmax) for e in (low, high))
            assert ((low <= codes) & (codes <= high)).all()


@pytest.mark.parametrize("target", TARGETS)
def test_steps_are_in_real_arithmetic_whatever_the_contract(target: str) -> None:
    prepared, x = residual_for(target), images()
    exact = evaluate_steps(prepared, QDQ, x)
    found = evaluate_steps(prepared, prepared.profile.contract(), x, forced=exact.codes)
    assert all(torch.equal(steps, exact.steps[name]) for name, steps in found.steps.items())


def test_steps_are_of_the_asked_tensors_only() -> None:
    prepared, x = residual_for("int8-npu"), images()
    found = evaluate_steps(prepared, QDQ, x, names=["head"])
    assert list(found.steps) == ["head"] and len(found.codes) == 7
    with pytest.raises(InputError, match=r"(?s)steps are of quantized tensors.*found: body"):
        evaluate_steps(prepared, QDQ, x, names=["head", "body"])


def test_forced_codes_feed_the_layers_after_them() -> None:
    prepared, x = residual_for("int8-npu"), images()
    free = evaluate_codes(prepared, QDQ, x)
    dark = {"stem": torch.full_like(free["stem"], -128), "unknown": torch.zeros(1)}
    found = evaluate_codes(prepared, QDQ, x, forced=dark)
    assert torch.equal(found["stem"], free["stem"])  # recorded before it is replaced
    assert (found["depth"] == found["depth"][:1, :, :1, :1]).all()  # an input of zeros everywhere


def one_layer(target: str, body: object, **children: nn.Module) -> PreparedModel:
    torch.manual_seed(0)
    return calibrated(Net(body, **children), target)


@pytest.mark.parametrize("function", [torch.sigmoid, torch.tanh, F.hardswish, F.leaky_relu])
def test_functions_of_one_value_are_tables(function: object) -> None:
    prepared = one_layer("int8-npu", lambda m, x: function(m.conv(x)), conv=conv(3, 2))
    codes, (_, before, after) = evaluate_codes(prepared, QDQ, images()), prepared.plan.tensors
    seen = {int(c): set() for c in codes[before.name].unique()}
    pairs = zip(codes[before.name].flatten(), codes[after.name].flatten(), strict=True)
    for source, result in pairs:
        seen[int(source)].add(int(result))
    assert max(map(len, seen.values())) == 1 and len(seen) > 64
    assert codes[after.name].dtype is torch.int8


def test_a_kept_clamp_bounds_codes_and_steps() -> None:
    def body(m: Net, x: Tensor) -> Tensor:
        return F.hardtanh(m.conv(x), -0.25, 0.5)

    prepared = one_layer("lowbit-vlsi", body, conv=conv(3, 2))
    found, scale = evaluate_steps(prepared, QDQ, images()), scale_of(prepared, "conv")
    assert prepared.plan.layers[0].activation == "kept"
    assert found.steps["conv"].min() * scale == pytest.approx(-0.25, rel=1e-6)  # float32 scale
    assert found.steps["conv"].max() * scale == pytest.approx(0.5, rel=1e-6)


def test_a_concat_obeys_the_clamp_after_it() -> None:
    def body(m: Net, x: Tensor) -> Tensor:
        return F.hardtanh(torch.cat([m.a(x), m.b(x)], 1), -0.1, 0.1)

    prepared = one_layer("lowbit-vlsi", body, a=conv(3, 2), b=conv(3, 2))
    codes, scale = evaluate_codes(prepared, QDQ, images()), scale_of(prepared, "a")
    assert codes["a"].max() > codes["cat"].max() == round(0.1 / scale)


def test_sixteen_bits_move_like_eight() -> None:
    profile = profile_with(
        "lowbit-vlsi", activation__bits=[16], activation__types=["u16", "s16"], activation__io={},
        compute__macs_per_cycle={}, container__int_types=["u16", "s16", "s8", "s4", "s2", "s32"],
    )  # fmt: skip
    net = Net(lambda m, x: F.pad(F.relu(m.conv(F.relu(x))), (1, 1))[:, :, ::2], conv=conv(3, 2))
    prepared = prepared_for(capture(net, [images(2)]), profile)
    calibrate_model(prepared, lambda: [(images(),)])
    codes = evaluate_codes(prepared, QDQ, images())
    assert codes["conv"].dtype is torch.int32 and codes["conv"].max() > 2**15


def test_two_inputs() -> None:
    pair = (images(seed=1), images(seed=2))
    prepared = prepared_for(capture(TwoInputs(), pair), "int8-npu")
    calibrate_model(prepared, lambda: [pair])
    assert list(evaluate_codes(prepared, QDQ, *pair)) == ["left", "right", "conv", "add", "mul"]


def test_an_overflowing_accumulator_is_refused_with_its_layer() -> None:
    prepared = residual_for("int8-npu")
    narrow = Contract("narrow", QDQ.default, accumulator=Accumulator(12))
    with pytest.raises(AccumulatorOverflowError, match="stem"):
        evaluate_codes(prepared, narrow, images())


def test_a_float_tensor_is_on_no_grid() -> None:
    graph = capture(Net(lambda m, x: m.conv(x), conv=conv(3, 2)), [images(2)])
    node = next(n for n in graph.graph.nodes if n.op == "call_function")
    with pytest.raises(UnsupportedError, match=r"(?s)conv: an integer .* codes.*next: "):
        grid_of(graph, node)


def test_a_tensor_times_its_own_sigmoid_is_one_function_where_the_contract_has_it() -> None:
    def body(m: Net, x: Tensor) -> Tensor:
        y = m.conv(x)
        return F.silu(y) + torch.sigmoid(y) * F.relu(y)

    prepared = one_layer("qnn-htp", body, conv=conv(3, 2))
    contract = load_profile("qnn-htp").contract()
    joined, apart = (evaluate_codes(prepared, c, images()) for c in (contract, QDQ))
    x, y = (prepared.quantizers()[name].qparams() for name in ("conv", "mul"))
    table = torch.from_numpy(lookup_table("Swish", x, y, form=contract.form("Sigmoid")))
    assert torch.equal(joined["mul"].long(), table[joined["conv"].long()])
    assert not torch.equal(apart["mul"], joined["mul"])
