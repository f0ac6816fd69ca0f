"""The bias codes of each form, and what the file holds of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

from deployq.errors import ProfileError
from deployq.graph.bias_type import BiasType
from deployq.graph.integers import layer_integers
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Linear
from deployq.qtypes import QType
from deployq_exporters.dialects import DIALECTS, translate
from deployq_exporters.lowering import lower, to_proto
from deployq_targets import load_profile
from deployq_targets.checks import check_model
from tests.graph.networks import (
    Net,
    calibrated,
    conv,
    prepared_for,
    profile_with,
    residual_graph,
)

PLAIN = BiasType()
POW2 = BiasType(8, 7, 7)
SHIFTED = BiasType(16, 0, 16)
REAL = BiasType(24, real=True)
LONG = BiasType(32, 0, 32, by_channel=True)
TARGETS = {"int8-npu": PLAIN, "max78000": POW2, "nvdla-small": SHIFTED, "tensorrt": REAL}


@pytest.mark.parametrize("target", TARGETS)
def test_a_profile_states_its_bias_type(target: str) -> None:
    assert BiasType.of(load_profile(target).bias) == TARGETS[target]


@given(
    st.sampled_from(list(TARGETS.values())),
    st.lists(st.floats(-(2.0**33), 2.0**33), min_size=1, max_size=8),
)
def test_biases_are_the_nearest_that_the_target_has(bias: BiasType, steps: list[float]) -> None:
    codes, shift = bias.round(np.array(steps))
    assert bias.shift <= shift <= bias.shift_max
    stored = codes >> shift
    assert (stored << shift == codes).all() and np.abs(stored).max() <= bias.most
    held = np.clip(steps, -(bias.most << shift), bias.most << shift)
    assert (np.abs(codes - held) <= 2.0**shift / 2).all()
    if shift > bias.shift:  # one less would not have held the largest
        assert np.abs(np.rint(np.array(steps) / 2.0 ** (shift - 1))).max() > bias.most


def file_of(target: str) -> tuple[onnx.ModelProto, np.ndarray]:
    """A lowered network of one layer with large biases, and its bias in steps of s_x s_w."""
    layer = conv(3, 4, bias=True)
    layer.bias.data.mul_(40.0)  # type: ignore[union-attr]
    prepared = calibrated(Net(lambda m, x: m.stem(x), stem=layer).eval(), target)
    bias = layer_integers(prepared)["stem"].codes.bias
    return to_proto(lower(prepared, prepared.profile)), bias


def linear_of(model: onnx.ModelProto) -> Linear:
    (node,) = (node for node in read_graph(model).nodes if isinstance(node, Linear))
    return node


@pytest.mark.parametrize(
    ("target", "stored", "dtype"),
    [
        ("int8-npu", "stem.bias.codes", np.int32),
        ("max78000", "stem.bias.codes", np.int8),
        ("nvdla-small", "stem.bias.codes", np.int16),
        ("tensorrt", "stem.bias.reals", np.float32),
    ],
)
def test_the_file_holds_the_bias_in_the_form_of_the_profile(
    target: str, stored: str, dtype: type
) -> None:
    model, bias = file_of(target)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert tensors[stored].dtype == dtype
    assert np.array_equal(linear_of(model).bias, bias)  # type: ignore[arg-type]
    runtime = translate(model, DIALECTS["onnxruntime"])
    read = linear_of(runtime)
    assert np.array_equal(read.bias, bias)  # type: ignore[arg-type]
    assert read.bias_type is not None and read.bias_type.bits == 32


def test_one_channel_does_not_coarsen_the_biases_of_all_others() -> None:
    assert SHIFTED.bearable(np.array([9e3, 2e4, 3e4])) == SHIFTED.most << 2
    assert SHIFTED.bearable(np.array([9e4, 1e5, 2.0**40])) == SHIFTED.most << 4
    assert SHIFTED.bearable(np.full(3, 2.0**40)) == SHIFTED.limit
    assert [kind.bearable(np.full(3, 2.0**40)) for kind in (PLAIN, POW2)] == [
        PLAIN.limit, POW2.limit,
    ]  # fmt: skip


def test_a_channel_with_a_vanishing_gamma_leaves_the_shift_of_its_layer() -> None:
    norm = nn.BatchNorm2d(8)
    norm.bias.data.uniform_(-1, 1)
    norm.weight.data[3], norm.bias.data[3] = 1e-6, 0.7
    net = Net(lambda m, x: F.relu(m.norm(m.a(x))), a=conv(3, 8), norm=norm).eval()
    codes = layer_integers(calibrated(net, "nvdla-small"))["a"].codes
    assert codes.bias_shift <= 5
    reals = codes.bias * codes.bias_scale.astype(np.float64)
    assert np.abs(reals - norm.bias.detach().numpy()).max() < 1e-3


def test_a_bias_of_64_bits_is_32_bits_and_a_power_of_two_for_each_channel() -> None:
    wide = profile_with("int8-npu", bias__bits=64, accumulator__bits=64)
    assert BiasType.of(wide.bias) == LONG
    codes, shifts = LONG.round_each(np.array([5.0, -(2.0**31) + 1, 2.0**31 - 0.25, -(2.0**62)]))
    assert codes.tolist() == [5, -(2**31) + 1, 2**31, -(2**62)] and shifts.tolist() == [0, 0, 1, 32]
    norm = nn.BatchNorm2d(4)
    norm.weight.data[:] = torch.tensor([1.0, 1e-9, 1.0, 1e-12])
    norm.bias.data[:] = torch.tensor([0.5, 0.7, -0.5, 0.7])
    net = Net(lambda m, x: m.norm(m.a(x)), a=conv(3, 4), norm=norm).eval()
    prepared = calibrated(net, wide)
    found = layer_integers(prepared)["a"].codes
    assert found.rescued == () and np.abs(found.bias[[1, 3]]).min() > 2**31
    reals = found.bias * found.bias_scale.astype(np.float64)
    assert np.abs(reals - norm.bias.detach().numpy()).max() < found.bias_scale.max()
    model = to_proto(lower(prepared, prepared.profile))
    read = linear_of(model)
    assert np.array_equal(read.bias, found.bias) and read.bias_type == QType(32, True)
    assert not [f for f in check_model(model, wide) if f.rule.startswith("bias")]
    (scale, *_) = [f for f in check_model(model, load_profile("int8-npu")) if "bias" in f.rule]
    assert scale.rule == "bias-scale"
    runtime = linear_of(translate(model, DIALECTS["onnxruntime"]))
    assert np.array_equal(runtime.bias, found.bias)  # int32 has no such codes on s_x s_w


def test_long_biases_have_one_form() -> None:
    facts = {"bias__bits": 64, "bias__scale_rule": "act_times_weight_shifted"}
    with pytest.raises(ProfileError, match=r"int8-npu: bias\.bits") as caught:
        prepared_for(residual_graph(), profile_with("int8-npu", accumulator__bits=64, **facts))
    assert caught.value.allowed == "up to 32, or more of form int on the scale s_x s_w"
