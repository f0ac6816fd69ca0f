"""Law 1: the torch quantizer is the reference, to the bit; and its gradients by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deployq import affine
from deployq.graph.bounded import bounded
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.quantize_kernels import gradients
from deployq.qparams import Granularity, PerBlock, PerChannel, PerTensor, QParams
from deployq.qtypes import QType

BITS = [*range(1, 17), 23, 24, 32]
S4 = QType(4, True)

scales = st.floats(2.0**-126, 2.0**80, width=32, allow_subnormal=False)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
steps = st.integers(-(2**18), 2**18).map(lambda k: k / 2)  # every second one is a tie


@st.composite
def grids(draw: st.DrawFn, shape: tuple[int, ...] = ()) -> QParams:
    bits, signed = draw(st.sampled_from(BITS)), draw(st.booleans())
    qtype = QType(bits, signed, signed and bits > 1 and draw(st.booleans()))
    granularity: Granularity = PerChannel(0) if shape else PerTensor()
    count = int(np.prod(shape))
    scale = draw(st.lists(scales, min_size=count, max_size=count))
    codes = st.integers(qtype.qmin, qtype.qmax)
    zero = draw(st.lists(codes, min_size=count, max_size=count))
    numbers = np.array(scale, np.float32).reshape(shape), np.array(zero).reshape(shape)
    return QParams(qtype, *numbers, granularity)


def quantizer(qparams: QParams) -> FakeQuantize:
    module = FakeQuantize(qparams.qtype, qparams.granularity, qparams.scale.shape)
    module.set_qparams(torch.tensor(qparams.scale), torch.tensor(qparams.zero_point))
    return module


def assert_same(x: np.ndarray, qparams: QParams) -> None:
    module, tensor = quantizer(qparams), torch.tensor(x)
    expected = affine.fake_quantize(x, qparams)
    assert module(tensor).numpy().view(np.int32).tolist() == expected.view(np.int32).tolist()
    assert module.codes(tensor).tolist() == affine.quantize(x, qparams).tolist()
    assert module.qparams() == qparams


@settings(max_examples=100, deadline=None)
@given(grids(), st.lists(finite, min_size=1, max_size=40))
def test_equals_the_reference_on_any_finite_value(qparams: QParams, values: list[float]) -> None:
    assert_same(np.array(values, np.float32), qparams)


@settings(max_examples=100, deadline=None)
@given(grids(), st.lists(steps, min_size=1, max_size=40))
def test_equals_the_reference_on_half_steps(qparams: QParams, values: list[float]) -> None:
    assert_same(np.array(values, np.float32) * qparams.scale, qparams)


@settings(max_examples=100, deadline=None)
@given(grids((3,)), st.lists(steps, min_size=12, max_size=12))
def test_equals_the_reference_per_channel(qparams: QParams, values: list[float]) -> None:
    x = np.array(values, np.float32).reshape(3, 4) * qparams.scale[:, None]
    assert_same(x.astype(np.float32), qparams)


@settings(max_examples=100, deadline=None)
@given(st.lists(scales, min_size=6, max_size=6), st.lists(steps, min_size=10, max_size=10))
def test_equals_the_reference_per_block(scale: list[float], values: list[float]) -> None:
    granularity = PerBlock(1, 2)  # of (2, 5): the last block is short
    grid = np.array(scale, np.float32).reshape(2, 3)
    x = np.array(values, np.float32).reshape(2, 5) * np.repeat(grid, 2, 1)[:, :5]
    assert_same(x, QParams(S4, grid, np.zeros((2, 3), np.int64), granularity))


@pytest.mark.parametrize("x", [2.0**-149, -(2.0**-130), 3.4e38, -3.4e38, 0.0, -0.0])
def test_takes_the_edges_of_float32(x: float) -> None:
    assert_same(np.array([x], np.float32), QParams(QType(8, False), np.float32(2**-126), 3))


def test_adds_an_odd_zero_point_after_rounding() -> None:
    qparams = QParams(QType(8, False), np.float32(1.0), 3)
    codes = quantizer(qparams).codes(torch.tensor([0.5, 1.5, 2.5, -0.5]))
    assert codes.tolist() == [3, 5, 5, 3]  # half to even first: 0, 2, 2, 0


@pytest.mark.parametrize("autocast", [True, False])
def test_bfloat16_is_computed_in_float32(autocast: bool) -> None:
    module = quantizer(QParams(QType(8, True), np.float32(0.1)))
    x = torch.arange(-300, 300).bfloat16() / 16
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = module(x)
    assert y.dtype is torch.float32 and torch.equal(y, module(x.float()))


def test_compilation_changes_no_bit() -> None:
    """On ties and their neighbours, of many scales and zero points."""
    draw = torch.Generator().manual_seed(0)
    scale, zeros = torch.rand(64, generator=draw) + 2.0**-9, torch.arange(64) % 16 - 8
    module = quantizer(QParams(S4, scale.numpy(), zeros.numpy(), PerChannel(0)))
    module.learn_scale()
    ties = torch.arange(-10, 10)[None] * 0.5 * scale[:, None]
    beside = torch.nextafter(ties, torch.tensor(torch.inf)), torch.nextafter(ties, torch.tensor(0))
    x = torch.cat([ties, *beside], 1)
    found = []
    for net in (module, torch.compile(module, fullgraph=True)):
        leaf = x.clone().requires_grad_()
        y = net(leaf)
        y.square().sum().backward()
        found.append((y.detach(), leaf.grad, module.scale.grad))
        module.scale.grad = None
    for eager, compiled in zip(*found, strict=True):
        assert eager is not None and compiled is not None
        if eager.ndim == 1:  # sums of 60 terms below 100 in another order: 60 * 100 * 2**-24
            torch.testing.assert_close(compiled, eager, rtol=0, atol=4e-4)
        else:
            assert torch.equal(compiled, eager)


def lsq(x: Tensor, module: FakeQuantize) -> Tensor:
    """Esser et al. 2020, eq. 3, one value at a time, with a zero point."""
    slopes = []
    for value in (x / module.scale).tolist():
        code = round(value) + int(module.zero_point)  # half to even, as Python rounds
        clipped = min(max(code, module.qtype.qmin), module.qtype.qmax) - int(module.zero_point)
        slopes.append(clipped - value if code - int(module.zero_point) == clipped else clipped)
    return torch.tensor(slopes)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=9), st.integers(-8, 7))
def test_gradients_are_straight_through_and_lsq(values: list[float], zero: int) -> None:
    module = quantizer(QParams(S4, np.float32(0.25), zero))
    module.learn_scale()
    x = torch.tensor(values, requires_grad=True)
    weight = torch.arange(1.0, len(values) + 1)
    (module(x) * weight).sum().backward()
    code = torch.round(x.detach() / 0.25) + zero
    assert x.grad is not None and module.scale.grad is not None
    assert torch.equal(x.grad, torch.where((code >= -8) & (code <= 7), weight, 0.0))
    expected = (lsq(x.detach(), module) * weight).sum() * (len(values) * 7) ** -0.5
    # a sum of nine float32 terms below 100: 9 * 100 * 2**-24
    assert float(module.scale.grad) == pytest.approx(float(expected), abs=6e-5)


def test_second_derivatives_are_those_of_straight_lines() -> None:
    """Gradients of ``x`` and of the scale are linear in the one that comes in."""
    module = FakeQuantize(S4, PerTensor())
    module.set_qparams(torch.tensor(0.5), torch.tensor(0))
    module.learn_scale()
    x = torch.tensor([-9.0, 0.3, 1.6, 9.0], requires_grad=True)
    incoming = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    of_x, of_scale = torch.autograd.grad(module(x), (x, module.scale), incoming, create_graph=True)
    (again,) = torch.autograd.grad((of_x * torch.arange(4.0)).sum(), incoming, retain_graph=True)
    assert again.tolist() == [0.0, 1.0, 2.0, 0.0]
    (slope,) = torch.autograd.grad(of_scale, incoming)
    factor = (4 * 7) ** -0.5  # LSQ: 4 elements, qmax 7
    torch.testing.assert_close(slope / factor, torch.tensor([-8.0, 0.4, -0.2, 7.0]))


def test_scale_gradients_are_per_channel() -> None:
    scale, zero = np.array([1.0, 2.0], np.float32), np.zeros(2, np.int64)
    module = quantizer(QParams(S4, scale, zero, PerChannel(0)))
    module.learn_scale()
    module(torch.tensor([[0.25, 20.0], [1.0, -40.0]])).sum().backward()
    assert module.scale.grad is not None  # slopes -0.25 + 7 and -0.5 - 8, factor 1 / sqrt(2 * 7)
    assert module.scale.grad.tolist() == pytest.approx([6.75 / 14**0.5, -8.5 / 14**0.5])


def test_the_gradient_of_a_wide_type_has_its_exact_range() -> None:
    module = quantizer(QParams(QType(32, True), np.float32(1.0)))
    x = torch.tensor([2.0**31 - 128, 2.0**31], requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1.0, 0.0]


def test_a_scale_beyond_its_limit_comes_back() -> None:
    module = FakeQuantize(QType(2, False), PerTensor(), fixed_zero_point=0, scale_limit=2.0)
    module.set_qparams(torch.tensor(5.0), torch.tensor(0))
    module.learn_scale()
    module(torch.tensor([1.0])).backward()  # rounds to 0: slope -1/2, descent raises the scale
    assert module.scale.grad == 0.0
    (-module(torch.tensor([1.0]))).backward()
    assert module.scale.grad is not None and module.scale.grad > 0.0
    assert module.effective_scale().item() == 2.0


@settings(max_examples=100, deadline=None)
@given(st.floats(-2, 2, width=32), st.floats(-1, 1, width=32))
def test_bounded_blocks_the_outward_gradient_only(value: float, slope: float) -> None:
    x = torch.tensor(value, requires_grad=True)
    y = bounded(x, -1.0, 1.0)
    (y * slope).backward()
    outward = (value <= -1 and slope > 0) or (value >= 1 and slope < 0)
    assert y.item() == min(max(value, -1.0), 1.0)
    assert x.grad is not None and float(x.grad) == (0.0 if outward else slope)


def test_a_pinned_scale_never_moves() -> None:
    module = FakeQuantize(S4, PerTensor(), fixed_zero_point=-8, fixed_scale=0.5)
    module.set_qparams(torch.tensor(3.0), torch.tensor(1))
    module.learn_scale()
    assert float(module.scale) == 0.5 and int(module.zero_point) == -8
    assert not module.scale.requires_grad


def test_float_evaluation_keeps_the_clamp_that_the_grid_replaced() -> None:
    module = FakeQuantize(QType(8, False), PerTensor(), fixed_zero_point=0, scale_limit=6 / 255)
    module.enabled = False
    x = torch.tensor([-1.0, 0.1, 7.0])
    assert torch.equal(module(x), torch.nn.functional.relu6(x))


def test_float_evaluation_of_a_signed_grid_clamps_nothing() -> None:
    module = FakeQuantize(S4, PerTensor(), symmetric=True, fixed_zero_point=0)
    module.enabled = False
    assert module(torch.tensor([-9.0])).item() == -9.0


@pytest.mark.parametrize(("qmin", "qmax"), [(-7, 7), (-8, 7), (0, 255), (-128, 127), (0, 1)])
@pytest.mark.parametrize("zero_point", [0, 1])
def test_the_short_way_back_is_the_general_one(qmin: int, qmax: int, zero_point: int) -> None:
    """One zero point or one for each element: same gradients, on ties and next to them."""
    ties = torch.arange(qmin - 3, qmax + 4).float() - 0.5
    steps = torch.cat([ties, torch.nextafter(ties, ties - 1), torch.nextafter(ties, ties + 1)])
    x, scale = steps * 0.25, torch.tensor(0.25)
    grad = torch.linspace(-1, 1, len(x))
    one, each = torch.tensor(zero_point), torch.full_like(x, zero_point, dtype=torch.int32)
    each[0] = qmin if zero_point != qmin else qmax  # another one, where 0.0 stays 0.0
    x[0] = 0.0
    short = gradients(grad, x, scale, one, (qmin, qmax), of_scale=True)
    general = gradients(grad, x, scale, each, (qmin, qmax), of_scale=True)
    assert torch.equal(short[0], general[0])
    # a sum of some hundred products of order one, in two orders
    torch.testing.assert_close(short[1], general[1], rtol=1e-5, atol=1e-4)
