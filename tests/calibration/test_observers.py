"""Observers: ranges of hand-made data, order, and the best of the ranges that were tried."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.qparams import PerChannel, PerTensor
from deployq.qtypes import QType
from deployq_calibration.observers import (
    MinMaxObserver,
    MSEObserver,
    Observer,
    make_observer,
    weight_qparams,
)
from deployq_calibration.ranges import SMALLEST_SCALE, fake_quantize_float64, qparams_of_range

U8, S8, S4 = QType(8, False), QType(8, True), QType(4, True, True)


def free(qtype: QType = U8) -> FakeQuantize:
    return FakeQuantize(qtype, PerTensor())


def observed(observer: Observer, batches: list[Tensor]) -> Observer:
    for number in range(observer.passes):
        for batch in batches:
            observer.observe(batch, number)
    return observer


def grid_of(quantizer: FakeQuantize, low: float, high: float) -> tuple[float, int]:
    scale, zero_point = qparams_of_range(
        quantizer, torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
    )
    assert scale.dtype is torch.float32 and zero_point.dtype is torch.int64
    return float(scale), int(zero_point)


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [
        (-1.0, 1.55, 0.01, 100),
        (0.0, 2.55, 0.01, 0),
        (0.5, 2.55, 0.01, 0),  # 0.0 is always a code
        (-2.55, -1.0, 0.01, 255),
        (0.0, 0.0, SMALLEST_SCALE, 0),
    ],
)
def test_a_free_grid_covers_the_range(
    low: float, high: float, scale: float, zero_point: int
) -> None:
    assert grid_of(free(), low, high) == (np.float32(scale), zero_point)


@pytest.mark.parametrize(
    ("quantizer", "scale", "zero_point"),
    [
        (FakeQuantize(S8, PerTensor(), symmetric=True), 2.56 / 128, 0),
        (FakeQuantize(S4, PerTensor(), symmetric=True), 2.56 / 7, 0),
        (FakeQuantize(U8, PerTensor(), fixed_zero_point=0), 1.0 / 255, 0),
        (FakeQuantize(S8, PerTensor(), fixed_zero_point=-128), 1.0 / 255, -128),
        (FakeQuantize(U8, PerTensor(), fixed_zero_point=255), 2.56 / 255, 255),
        (FakeQuantize(U8, PerTensor(), fixed_zero_point=128), 2.56 / 128, 128),
        (FakeQuantize(U8, PerTensor(), fixed_zero_point=0, scale_limit=0.001), 0.001, 0),
    ],
)
def test_pinned_zero_points_stay(quantizer: FakeQuantize, scale: float, zero_point: int) -> None:
    assert grid_of(quantizer, -2.56, 1.0) == (np.float32(scale), zero_point)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 32), st.booleans(), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.booleans())
def test_zero_points_are_codes(
    bits: int, signed: bool, one: float, other: float, symmetric: bool
) -> None:
    quantizer = FakeQuantize(QType(bits, signed), PerTensor(), symmetric=symmetric)
    scale, zero_point = grid_of(quantizer, min(one, other), max(one, other))
    assert scale > 0 and quantizer.qtype.qmin <= zero_point <= quantizer.qtype.qmax
    quantizer.set_qparams(torch.tensor(scale), torch.tensor(zero_point))
    assert int(quantizer.qparams().zero_point) == (0 if symmetric else zero_point)


def test_minmax_takes_the_extremes_of_all_batches() -> None:
    batches = [torch.tensor([0.5, 1.55]), torch.tensor([[-1.0]]), torch.tensor([0.0])]
    scale, zero_point = observed(MinMaxObserver(), batches).qparams(free())
    assert (float(scale), int(zero_point)) == (np.float32(0.01), 100)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(6)), st.sampled_from(["minmax", "mse"]))
def test_the_order_of_batches_does_not_matter(order: list[int], name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(50, generator=generator) * (k + 1) for k in range(6)]
    shuffled = [batches[k] for k in order]
    one, other = (observed(make_observer(name), data) for data in (batches, shuffled))
    if isinstance(one, MSEObserver) and isinstance(other, MSEObserver):
        assert torch.equal(one.counts, other.counts) and one.counts.sum() == 300
    assert [float(t) for t in one.qparams(free())] == [float(t) for t in other.qparams(free())]


def test_mse_clips_an_outlier_that_minmax_keeps() -> None:
    x = torch.cat([torch.linspace(-1, 1, 10_000), torch.tensor([30.0])])
    quantizer = free(S4)
    narrow, _ = observed(MSEObserver(), [x]).qparams(quantizer)
    wide, _ = observed(MinMaxObserver(), [x]).qparams(quantizer)
    assert float(wide) == pytest.approx(31 / 14) and float(narrow) < float(wide) / 2


def test_mse_of_few_values_keeps_their_range() -> None:
    x = torch.tensor([-1.28, 1.27]).repeat(100)
    quantizer = FakeQuantize(S8, PerTensor(), symmetric=True)
    scale, _ = observed(MSEObserver(), [x]).qparams(quantizer)
    assert float(scale) == pytest.approx(0.01, rel=0.01)  # ranges are tried in steps of 1 %


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.booleans(), st.booleans())
def test_mse_is_never_worse_than_minmax(seed: int, bits: int, signed: bool, pinned: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(500, generator=generator) ** 3
    zero = QType(bits, signed).qmin if pinned else None
    quantizer = FakeQuantize(QType(bits, signed), PerTensor(), fixed_zero_point=zero)
    observer = MSEObserver()
    observed(observer, [x])

    def error(grid: tuple[Tensor, Tensor]) -> float:
        centres = observer._centres()
        moved = fake_quantize_float64(centres, quantizer, *grid)
        return float(((moved - centres) ** 2 * observer.counts).sum())

    minmax = qparams_of_range(quantizer, observer.low, observer.high)
    # the same sum over 4096 bins may be taken in another order
    assert error(observer.qparams(quantizer)) <= error(minmax) * (1 + 1e-12)


@pytest.mark.parametrize("name", ["minmax", "mse"])
def test_a_constant_tensor_has_a_scale(name: str) -> None:
    scale, zero_point = observed(make_observer(name), [torch.zeros(4)]).qparams(free())
    assert float(scale) == SMALLEST_SCALE and int(zero_point) == 0


def per_channel(channels: int) -> FakeQuantize:
    return FakeQuantize(S4, PerChannel(0), (channels,), symmetric=True)


def test_weights_are_ranged_by_channel() -> None:
    weight = torch.tensor([[0.7, -0.1], [-7.0, 3.0]])
    scale, zero_point = weight_qparams(weight, per_channel(2), "minmax")
    assert scale.tolist() == [np.float32(0.7 / 7), 1.0] and zero_point.tolist() == [0, 0]
    scale, _ = weight_qparams(weight, FakeQuantize(S4, PerTensor(), symmetric=True), "minmax")
    assert scale.shape == () and float(scale) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_mse_weights_are_never_worse_than_minmax(seed: int) -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(seed)) ** 3
    quantizer, errors = per_channel(4), []
    for method in ("mse", "minmax"):
        scale, zero_point = weight_qparams(weight, quantizer, method)
        quantizer.set_qparams(scale, zero_point)
        moved = quantizer.codes(weight).double() * scale.double().reshape(-1, 1, 1, 1)
        errors.append(((moved - weight.double()) ** 2).flatten(1).sum(1))
    # float32 and float64 quotients decide differently at a tie, where both codes are as good
    assert (errors[0] <= errors[1] * (1 + 1e-6)).all()


@pytest.mark.parametrize(
    "make", [make_observer, lambda name: weight_qparams(torch.ones(2, 2), free(), name)]
)
def test_an_unknown_method_is_refused(make: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match=r"(?s)found: entropy.*allowed: minmax, mse.*next: "):
        make("entropy")
