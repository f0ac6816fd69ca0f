"""Law 2: a trained integer is never re-quantized."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from deployq.graph.batch_norm import absorb, move_sign_into_weight
from deployq.graph.bias_type import BiasType
from deployq.graph.capture import capture
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import layer_integers, linear_calls
from deployq.graph.preparation import disable_quantizers
from deployq.graph.units import QuantizedLinear
from deployq.qparams import PerChannel, PerTensor
from deployq.qtypes import QType
from tests.graph.networks import (
    ABSORBING,
    conv,
    graph_of,
    images,
    prepared_for,
    residual,
    residual_for,
)

CODES = np.array([[1, -2], [3, 4], [-5, 6]])
ONE = np.float32(1.0)


def unit_of(bits: int, mode: str, scale: Tensor) -> QuantizedLinear:
    granularity = PerChannel(0) if scale.ndim else PerTensor()
    quantizer = FakeQuantize(QType(bits, True, bits > 1), granularity, scale.shape, symmetric=True)
    quantizer.set_qparams(scale, torch.tensor(0))
    return QuantizedLinear("Gemm", quantizer, batch_norm=mode)


def tensors_of(seed: int) -> tuple[Tensor, ...]:
    """Weight (3, 4), bias, gamma, beta, mean and variance (3,)."""
    torch.manual_seed(seed)
    return torch.randn(3, 4), *torch.randn(4, 3).abs(), torch.rand(3) + 0.5


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1, 2, 3, 4, 8, 16]), st.integers(0, 1000))
def test_absorbed_codes_are_those_of_the_weight_quantizer(bits: int, seed: int) -> None:
    unit = unit_of(bits, "absorb", torch.rand(3) + 0.1)
    weight, bias, gamma, beta, mean, variance = tensors_of(seed)
    integers = unit.integers(np.float32(0.1), weight, bias, gamma, beta, mean, variance)
    factor = gamma.double() * torch.rsqrt(variance.double() + unit.eps)
    assert np.array_equal(integers.codes, unit.weight_quantizer.codes(weight).numpy())
    scale = unit.weight_quantizer.scale.detach()
    assert np.array_equal(integers.scale, (scale.double() * factor).float().numpy())
    assert np.array_equal(integers.bias_scale, np.float32(0.1) * integers.scale)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([2, 4, 8]), st.booleans(), st.integers(0, 1000))
def test_folded_codes_are_those_of_the_folded_weight(bits: int, shared: bool, seed: int) -> None:
    unit = unit_of(bits, "fold", torch.tensor(0.2) if shared else torch.rand(3) + 0.1)
    weight, bias, gamma, beta, mean, variance = tensors_of(seed)
    integers = unit.integers(np.float32(0.1), weight, bias, -gamma, beta, mean, variance)
    folded = weight * (-gamma * torch.rsqrt(variance + unit.eps))[:, None]
    assert np.array_equal(integers.codes, unit.weight_quantizer.codes(folded).numpy())
    assert np.array_equal(integers.scale, unit.weight_quantizer.scale.detach().numpy())


def test_a_bias_is_the_batch_norms_rounded_once() -> None:
    unit = unit_of(8, "absorb", torch.rand(3) + 0.1)
    weight, bias, gamma, beta, mean, variance = (t.double() for t in tensors_of(3))
    found = unit.integers(ONE, *(t.float() for t in (weight, bias, gamma, beta, mean, variance)))
    real = gamma * (bias - mean) / torch.sqrt(variance + unit.eps) + beta
    error = np.abs(found.bias * found.bias_scale.astype(np.float64) - real.numpy())
    # half a step, and what float64 loses between two ways to write the formula
    assert (error <= found.bias_scale * (0.5 + 1e-9)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000))
def test_the_sign_of_gamma_moves_exactly(seed: int) -> None:
    weight, bias, gamma, beta, mean, variance = tensors_of(seed)
    gamma = gamma * torch.tensor([1.0, -1.0, -1.0])
    x = torch.randn(5, 4)
    before = norm(x @ weight.T + bias, mean, variance, gamma, beta)
    move_sign_into_weight(weight, bias, gamma, mean)
    assert (gamma >= 0).all()
    assert torch.equal(norm(x @ weight.T + bias, mean, variance, gamma, beta), before)


def norm(x: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return nn.functional.batch_norm(x, mean, variance, gamma, beta)


@pytest.mark.parametrize("target", ABSORBING)
def test_preparation_leaves_the_float_network_bit_equal(target: str) -> None:
    model = residual()
    prepared = prepared_for(capture(model, [images(2)]), target)
    disable_quantizers(prepared.module)
    assert (model.stem_norm.weight < 0).any()
    assert (prepared.module.get_parameter("stem_norm.weight") >= 0).all()
    assert torch.equal(prepared.module(images()), model(images()))


def test_training_cannot_carry_gamma_below_zero() -> None:
    prepared = residual_for("int8-npu")
    gamma = prepared.module.get_parameter("stem_norm.weight")
    with torch.no_grad():
        gamma[0] = -0.5
    codes = layer_integers(prepared)["stem"].codes
    assert codes.rescued == (0,) and (codes.codes[0] == 0).all()


def test_a_gamma_below_zero_counts_as_zero_and_comes_back() -> None:
    unit = unit_of(8, "absorb", torch.ones(3)).eval()
    weight, bias, gamma, beta, mean, variance = tensors_of(0)
    gradients = []
    for sign in (1.0, -1.0):
        learned = torch.cat([torch.tensor([-0.5]), gamma[1:]]).requires_grad_()
        y = unit(torch.ones(2, 4), weight, bias, learned, beta, mean, variance)
        assert torch.equal(y[:, 0], beta[0].expand(2))
        (y[:, 0].sum() * sign).backward()
        gradients.append(learned.grad[0].item())
    assert min(gradients) < 0.0 == max(gradients)  # descent may raise it, and only that


def test_a_vanishing_gamma_becomes_zero_codes_and_its_bias() -> None:
    bias = np.array([0.3, -0.7, 0.2])
    found = absorb(
        CODES, np.full(3, 0.1, np.float32), np.array([1.0, 0.0, 1e-44]), bias, ONE, BiasType()
    )
    assert found.rescued == (1, 2)
    assert found.codes.tolist() == [[1, -2], [0, 0], [0, 0]]
    assert np.abs(found.bias * found.bias_scale.astype(np.float64) - bias).max() <= 0.05  # s_b / 2


def test_an_overflowing_bias_becomes_zero_codes_and_itself() -> None:
    bias = np.array([0.3, 9e4, -9e4])
    found = absorb(CODES, np.full(3, 1e-6, np.float32), np.ones(3), bias, ONE, BiasType())
    assert found.rescued == (1, 2) and np.abs(found.bias).max() < 2**30
    relative = found.bias * found.bias_scale.astype(np.float64) / bias - 1
    assert np.abs(relative).max() < 2**-20  # 0.3 at a step of 1e-6 is the coarsest


def test_a_healthy_channel_is_left_alone() -> None:
    found = absorb(
        CODES, np.full(3, 0.1, np.float32), np.full(3, 2.0), np.zeros(3), ONE, BiasType()
    )
    assert found.rescued == () and np.array_equal(found.codes, CODES)


def test_channels_of_one_scale_saturate_their_bias() -> None:
    found = absorb(
        CODES, np.float32(1e-6)[()], np.array(1.0), np.array([0.0, 9e4, -9e4]), ONE, BiasType()
    )
    assert found.rescued == (1, 2) and found.scale == np.float32(1e-6)
    assert found.bias.tolist() == [0, 2**31 - 1, 1 - 2**31]


@pytest.mark.parametrize("shape", [(), (3,)])
def test_no_bias_scale_is_subnormal(shape: tuple[int, ...]) -> None:
    tiny = np.full(shape, 2.0**-100, np.float32)
    found = absorb(CODES, tiny, np.ones(shape), np.array([0.0, 1e-40, 1.0]), tiny.max(), BiasType())
    assert found.bias_scale.min() >= np.finfo(np.float32).tiny
    assert found.rescued == (0, 1, 2) and found.bias[0] == 0


@pytest.mark.parametrize("target", ABSORBING)
def test_a_layer_of_its_own_is_absorbed(target: str) -> None:
    graph = graph_of(lambda m, x: m.norm(m.conv(x)), conv=conv(3, 4), norm=nn.BatchNorm2d(4))
    assert prepared_for(graph, target).plan.layers[0].batch_norm == "absorb"


@pytest.mark.parametrize("shared", ["weight", "norm", "gamma"])
def test_what_is_shared_cannot_change_sign(shared: str) -> None:
    first, second = conv(3, 3), conv(3, 3)
    norms = [nn.BatchNorm2d(3), nn.BatchNorm2d(3)]
    second = first if shared == "weight" else second
    norms[1] = norms[0] if shared == "norm" else norms[1]
    if shared == "gamma":
        norms[1].weight = norms[0].weight
    graph = graph_of(lambda m, x: m.q(m.b(m.p(m.a(x)))), a=first, b=second, p=norms[0], q=norms[1])
    prepared = prepared_for(graph, "int8-npu")
    assert [layer.batch_norm for layer in prepared.plan.layers] == ["fold", "fold"]
    disable_quantizers(prepared.module)
    # folding multiplies before it sums: float32 rounding of 27 products of order one
    assert torch.allclose(prepared.module(images()), graph(images()), atol=1e-4)


def test_without_gamma_the_statistics_are_absorbed() -> None:
    plain = nn.BatchNorm2d(4, affine=False)
    graph = graph_of(lambda m, x: m.norm(m.conv(x)), conv=conv(3, 4, bias=True), norm=plain)
    prepared = prepared_for(graph, "int8-npu")
    (call,) = linear_calls(prepared)
    assert call.rest[1] is None and call.rest[2] is None
    disable_quantizers(prepared.module)
    assert torch.equal(prepared.module(images()), graph(images()))


def test_a_narrow_bias_saturates_and_the_weights_stay() -> None:
    narrow = BiasType(8, 7, 7)
    bias = np.array([0.0, 3.0, -200.0])
    found = absorb(CODES, np.float32(2.0**-12)[()], np.array(1.0), bias, ONE, narrow)
    assert found.rescued == (2,) and np.array_equal(found.codes, CODES)
    assert found.bias.tolist() == [0, 96 << 7, -(127 << 7)]


def test_a_rescued_channel_stays_on_a_lattice_of_powers_of_two() -> None:
    scale = np.full(3, 2.0**-12, np.float32)
    bias = np.array([0.0, 3.0, -20.0])
    found = absorb(CODES, scale, np.ones(3), bias, ONE, BiasType(8, 7, 7))
    assert found.rescued == (2,) and (np.frexp(found.scale)[0] == 0.5).all()
    assert abs(found.bias[2] * found.bias_scale[2] + 20.0) <= 64 * found.bias_scale[2]
