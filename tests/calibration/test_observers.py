"""Observers: ranges of hand-made data, order, and the best of the ranges that were tried."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.ranges import (
    SMALLEST_SCALE,
    fake_quantize_float64,
    qparams_of_range,
    real_ends,
)
from deployq.qparams import PerTensor
from deployq.qtypes import QType
from deployq_calibration.observers import (
    OBSERVERS,
    MinMaxObserver,
    MovingAverageObserver,
    MSEObserver,
    Observer,
    make_observer,
)

U8, S8, S4 = QType(8, False), QType(8, True), QType(4, True, True)


def free(qtype: QType = U8) -> FakeQuantize:
    return FakeQuantize(qtype, PerTensor())


def observed(observer: Observer, batches: Sequence[Tensor]) -> Observer:
    for batch in batches:
        observer.observe(batch)
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


ORDERLESS = ("minmax", "mse", "percentile", "percentile:99", "entropy")


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(range(300)), st.lists(st.integers(1, 299), max_size=6, unique=True),
    st.sampled_from(ORDERLESS), st.integers(2, 8),
)  # fmt: skip
def test_the_order_and_split_of_batches_do_not_matter(
    order: list[int], cuts: list[int], name: str, bits: int
) -> None:
    x = torch.randn(300, generator=torch.Generator().manual_seed(0)) ** 3
    other = torch.tensor_split(x[order], sorted(cuts))
    for quantizer in (
        free(QType(bits, True)),
        FakeQuantize(QType(bits, True), PerTensor(), symmetric=True),
    ):
        one, two = (observed(make_observer(name), data).qparams(quantizer) for data in ([x], other))
        assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


def test_the_moving_average_depends_on_the_order() -> None:
    batches = [torch.tensor([-1.0, 1.0]), torch.tensor([-2.0, 3.0])]
    one, other = (observed(MovingAverageObserver(), data) for data in (batches, batches[::-1]))
    ends = [[float(o.low), float(o.high)] for o in (one, other)]  # type: ignore[attr-defined]
    assert ends == [pytest.approx([-1.01, 1.02]), pytest.approx([-1.99, 2.98])]
    last = observed(make_observer("moving_average:1"), batches)
    assert float(last.high) == 3.0  # type: ignore[attr-defined]


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
    assert float(scale) == pytest.approx(0.01, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.booleans(), st.booleans())
def test_mse_is_never_worse_than_minmax(seed: int, bits: int, signed: bool, pinned: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(500, generator=generator) ** 3
    zero = QType(bits, signed).qmin if pinned else None
    quantizer = FakeQuantize(QType(bits, signed), PerTensor(), fixed_zero_point=zero)
    observer = MSEObserver()
    observed(observer, [x])

    minmax = qparams_of_range(quantizer, observer.low, observer.high)
    grids = (torch.stack(pair) for pair in zip(observer.qparams(quantizer), minmax, strict=True))
    found, whole = observer.error(quantizer, tuple(grids))  # type: ignore[arg-type]
    # the same sum over all bins, taken in another order
    assert found <= whole * (1 + 1e-12)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("pinned", [True, False])
def test_the_histograms_error_is_that_of_the_values(bits: int, pinned: bool) -> None:
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(bits))
    zero = -(1 << (bits - 1)) if pinned else None
    quantizer = FakeQuantize(QType(bits, True), PerTensor(), fixed_zero_point=zero)
    observer = MSEObserver()
    observer.observe(x)
    for share in (1.0, 0.5):
        scale, zero_point = qparams_of_range(quantizer, observer.low * share, observer.high * share)
        error = ((fake_quantize_float64(x, quantizer, scale, zero_point) - x) ** 2).sum()
        found = observer.error(quantizer, (scale[None], zero_point[None]))
        # 200,000 values leave the density of a bin uncertain by their number: a few per mille
        assert float(found) == pytest.approx(float(error), rel=0.01)


def test_each_end_finds_its_own_place_where_the_zero_point_is_free() -> None:
    generator = torch.Generator().manual_seed(0)
    thin, even = torch.randn(50_000, generator=generator).exp(), torch.rand(50_000) * 3
    x = torch.cat([-thin, even])
    observer, quantizer = MSEObserver(), free(QType(4, True))
    observer.observe(x)
    shrink = torch.linspace(1, 0.01, 400, dtype=torch.float64)
    together = qparams_of_range(quantizer, observer.low * shrink, observer.high * shrink)
    scale, zero_point = observer.qparams(quantizer)
    found = observer.error(quantizer, (scale[None], zero_point[None]))
    assert float(found) < 0.9 * float(observer.error(quantizer, together).amin())


@pytest.mark.parametrize("name", ["mse", "percentile", "entropy"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_far_outlier_does_not_spoil_the_grid(name: str, symmetric: bool) -> None:
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    quantizer = FakeQuantize(S8, PerTensor(), symmetric=symmetric)
    plain = observed(make_observer(name), [x])
    observer = observed(make_observer(name), [x, torch.tensor([1e6])])
    scale, clean = float(observer.qparams(quantizer)[0]), float(plain.qparams(quantizer)[0])
    # one more value moves a percentile by one of the order statistics
    assert scale == pytest.approx(clean, rel=0.05) and scale < 5 / 127
    assert (observer.set_aside, plain.set_aside) == (1, 0)


def test_a_tail_of_more_than_one_in_ten_thousand_is_no_outlier() -> None:
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    observer = observed(MSEObserver(), [x, torch.full((3,), 1e6)])
    assert float(observer.qparams(free())[0]) > 1000 and observer.set_aside == 0


@pytest.mark.parametrize(("name", "clipped"), [("percentile", 10), ("percentile:99", 1000)])
def test_percentiles_clip_their_share_and_no_more(name: str, clipped: int) -> None:
    x = torch.linspace(-1, 1, 100_000)[torch.randperm(100_000)]
    for values, sides in ((x, 2), (x.abs(), 1)):
        low, high = real_ends(free(), observed(make_observer(name), [values]).qparams(free()))
        end, slack = 1 - clipped / 1e5, 1 / 512 + 1 / 255  # a bin, and 0.0 is on a code
        assert float(high) == pytest.approx(end, abs=slack)
        assert float(low) == pytest.approx(-end if sides == 2 else 0, abs=slack)


def test_a_percentile_of_mostly_zeros_keeps_the_range() -> None:
    x = torch.cat([torch.zeros(100_000), torch.ones(3)])
    scale, _ = observed(make_observer("percentile"), [x]).qparams(free())
    assert float(scale) == pytest.approx(1 / 255)


def test_entropy_clips_a_thin_tail_and_keeps_an_even_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    quantizer = FakeQuantize(S8, PerTensor(), symmetric=True)
    thin = torch.cat(
        [torch.randn(100_000, generator=generator), 30 * torch.rand(20, generator=generator)]
    )
    even = 2 * torch.rand(100_000, generator=generator) - 1
    assert float(observed(make_observer("entropy"), [thin]).qparams(quantizer)[0]) < 15 / 127
    scale = float(observed(make_observer("entropy"), [even]).qparams(quantizer)[0])
    assert scale == pytest.approx(1 / 127, rel=0.02)


@pytest.mark.parametrize("name", OBSERVERS)
def test_a_constant_tensor_has_a_scale(name: str) -> None:
    scale, zero_point = observed(make_observer(name), [torch.zeros(4)]).qparams(free())
    assert float(scale) == SMALLEST_SCALE and int(zero_point) == 0


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("value", [3.0, -3.0, 2.0**-50, 2.0**40])
def test_one_value_is_held(name: str, value: float) -> None:
    grid = observed(make_observer(name), [torch.full((5,), value)]).qparams(free())
    low, high = real_ends(free(), grid)
    assert float(low if value < 0 else high) == pytest.approx(value, rel=0.01)


def test_an_unknown_observer_is_refused() -> None:
    with pytest.raises(InputError, match=r"(?s)found: best.*allowed: minmax, mse, .*next: "):
        make_observer("best")


@pytest.mark.parametrize(
    "name",
    ["percentile:50", "percentile:100.1", "percentile:x", "percentile:nan", "percentile:",
     "moving_average:0", "mse:3", "entropy:1"],
)  # fmt: skip
def test_a_parameter_out_of_range_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)in range.*found: {name}.*allowed: .*next: "):
        make_observer(name)
