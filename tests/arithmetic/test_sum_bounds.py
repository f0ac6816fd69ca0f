"""Bounds of sums against all inputs there are, on layers small enough to try them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Accumulator
from deployq.arithmetic.fan_in import absolute_sums
from deployq.arithmetic.geometry import ConvGeometry, ConvTransposeGeometry, Pair
from deployq.arithmetic.intervals import Interval
from deployq.arithmetic.oracle.conv_transpose import conv_transpose_accumulate
from deployq.arithmetic.oracle.linear import conv_accumulate
from deployq.arithmetic.rounding import Int64Array
from deployq.arithmetic.sum_bounds import SumBounds, Window, channel_bounds, most_weight
from deployq.arithmetic.taps import OUTSIDE, roomy_size, window_taps
from deployq.qparams import IntArray
from tests.arithmetic.cases import Draw, seeds

MOST_INPUTS = 4096
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def geometries(draw: st.DrawFn) -> ConvGeometry:
    """Convolutions and transposed ones, with pads that leave windows without a whole position."""
    strides, dilations = draw(pairs), draw(st.tuples(*[st.integers(1, 2)] * 2))
    pads, groups = draw(st.tuples(*[st.integers(0, 2)] * 4)), draw(st.sampled_from([1, 2]))
    if draw(st.booleans()):
        return ConvGeometry(strides, pads, dilations, groups)
    extra = tuple(max(pair) - 1 for pair in zip(strides, dilations, strict=True))
    return ConvTransposeGeometry(strides, pads, dilations, groups, (extra[0], extra[1]))


def fits(geometry: ConvGeometry, size: Pair, kernel: Pair) -> bool:
    if isinstance(geometry, ConvTransposeGeometry):
        whole, margins = geometry.whole_size(size, kernel), geometry.margins()
        return all(whole[a] + margins[a] + margins[a + 2] > 0 for a in (0, 1))
    spans = [d * (k - 1) + 1 for d, k in zip(geometry.dilations, kernel, strict=True)]
    return all(size[a] + geometry.pads[a] + geometry.pads[a + 2] >= spans[a] for a in (0, 1))


def sums(x: IntArray, zx: int, w: IntArray, bias: IntArray, geometry: ConvGeometry) -> Int64Array:
    if isinstance(geometry, ConvTransposeGeometry):
        return conv_transpose_accumulate(x, zx, w, 0, bias, geometry)
    return conv_accumulate(x, zx, w, 0, bias, geometry)


def bounds(
    codes: Interval, zx: int, w: IntArray, bias: IntArray, geometry: ConvGeometry, size: Pair,
    *, optional: bool = False,
) -> tuple[SumBounds, ...]:  # fmt: skip
    rows, columns = window_taps(geometry, size, (w.shape[2], w.shape[3]))
    window = Window(rows != OUTSIDE, columns != OUTSIDE, optional)
    return channel_bounds(codes.moved(-zx), w, bias.tolist(), [0] * len(w), window)


def every_input(codes: Interval, shape: tuple[int, ...]) -> IntArray:
    values = range(codes.low, codes.high + 1)
    found = np.array(list(itertools.product(values, repeat=int(np.prod(shape)))))
    return found.reshape(-1, *shape)


@settings(max_examples=120, deadline=None)
@given(seeds, geometries(), pairs, st.tuples(*[st.integers(1, 2)] * 3), st.integers(-2, 2))
def test_bounds_are_the_extremes_over_all_inputs(
    seed: int, geometry: ConvGeometry, size: Pair, facts: tuple[int, int, int], zx: int
) -> None:
    """Also where real zero is no code of the range, so that padding can raise a sum."""
    draw, (per_group, *kernel) = Draw(seed), facts
    shape, window = (per_group * geometry.groups, *size), (kernel[0], kernel[1])
    codes = Interval(0, 1 + int(draw.rng.integers(2)))
    assume(fits(geometry, size, window))
    assume((codes.high + 1) ** int(np.prod(shape)) <= MOST_INPUTS)
    w, bias = draw.rng.integers(-3, 4, (2, per_group, *kernel)), draw.rng.integers(-9, 10, 2)
    acc = sums(every_input(codes, shape), zx, w, bias, geometry)
    found = bounds(codes, zx, w, bias, geometry, size)
    for o, bound in enumerate(found):
        assert bound.finished == Interval(int(acc[:, o].min()), int(acc[:, o].max()))
        assert acc[:, o][:, *bound.low_at].min() == bound.finished.low
        assert acc[:, o][:, *bound.high_at].max() == bound.finished.high
        assert bound.partial.low <= min(bound.finished.low, 0)
        assert bound.partial.high >= max(bound.finished.high, 0)


@settings(max_examples=60, deadline=None)
@given(seeds, geometries(), pairs, pairs, st.integers(-2, 2))
def test_partial_sums_are_those_of_single_cells(
    seed: int, geometry: ConvGeometry, size: Pair, kernel: Pair, zx: int
) -> None:
    """Each input cell alone: what helps is added, what does not comes later."""
    assume(fits(geometry, size, kernel))
    draw, channels = Draw(seed), geometry.groups
    w, bias = draw.rng.integers(-3, 4, (2, 1, *kernel)), draw.rng.integers(-9, 10, 2)
    alone = np.full((2, channels * size[0] * size[1], channels, *size), zx)
    for end, cells in enumerate(alone):
        cells.reshape(len(cells), -1)[np.diag_indices(len(cells))] = end  # codes 0..1
    terms = np.stack([sums(cells, zx, w, 0 * bias, geometry) for cells in alone])
    most, least = np.maximum(terms.max(0), 0).sum(0), np.minimum(terms.min(0), 0).sum(0)
    for o, bound in enumerate(bounds(Interval(0, 1), zx, w, bias, geometry, size)):
        first = int(bias[o])
        assert bound.partial.high == most[o].max() + max(first, 0)
        assert bound.partial.low == least[o].min() + min(first, 0)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(-1, 3))
def test_partial_sums_of_a_product_in_every_order(seed: int, zx: int) -> None:
    draw, codes = Draw(seed), Interval(0, 2)
    w, (first, last) = draw.rng.integers(-3, 4, 3), draw.rng.integers(-5, 6, 2).tolist()
    terms = (every_input(codes, (3,)) - zx) * w
    found = [
        total
        for row in terms.tolist()
        for order in itertools.permutations([*row, first, last])
        for total in itertools.accumulate(order, initial=0)
    ]
    (bound,) = channel_bounds(codes.moved(-zx), w.reshape(1, 3, 1, 1), [first], [last])
    assert bound.partial == Interval(min(found), max(found))
    finished = terms.sum(1) + first
    assert bound.finished == Interval(int(finished.min()), int(finished.max()))


@settings(max_examples=40, deadline=None)
@given(seeds, geometries(), pairs, st.integers(-1, 3))
def test_a_roomy_map_stands_for_every_size(
    seed: int, geometry: ConvGeometry, kernel: Pair, zx: int
) -> None:
    """Exactly where zero is in the range; else padding may help in ways that size decides."""
    w = Draw(seed).rng.integers(-3, 4, (2, 1, *kernel))
    bias, codes = np.zeros(2, np.int64), Interval(0, 2)
    free = not 0 <= zx <= 2
    stated = bounds(
        codes, zx, w, bias, geometry, roomy_size(geometry, kernel), optional=free
    )  # fmt: skip
    sizes = [
        size for size in itertools.product(range(1, 9), repeat=2) if fits(geometry, size, kernel)
    ]
    every = [bounds(codes, zx, w, bias, geometry, size) for size in sizes]
    for o, bound in enumerate(stated):
        low = min(found[o].finished.low for found in every)
        high = max(found[o].finished.high for found in every)
        assert bound.finished.low <= low and high <= bound.finished.high
        assert free or bound.finished == Interval(low, high)


def test_a_map_smaller_than_its_window_may_have_the_largest_sum() -> None:
    """Of weights -1, 1, -1 over codes 1, only a map of one column sums to 1."""
    geometry, w = ConvGeometry(pads=(0, 1, 0, 1)), np.array([[[[-1, 1, -1]]]])
    facts = Interval(1, 1), 0, w, np.zeros(1, np.int64), geometry
    found = [bounds(*facts, (1, columns))[0].finished.high for columns in (1, 2, 6)]
    assert found == [1, 0, 0]
    size = roomy_size(geometry, (1, 3))
    assert [b.finished.high for b in bounds(*facts, size, optional=True)] == [1]
    assert [b.finished.high for b in bounds(*facts, size)] == [0]


def test_sums_beyond_64_bits_are_python_integers() -> None:
    values, most = Interval(-(2**32), 2**32 - 1), 2**31
    (bound,) = channel_bounds(values, np.full((1, 8, 1, 1), -most), [1], [0])
    assert bound.finished == Interval(1 - 8 * most * values.high, 1 + 8 * most * 2**32)
    assert bound.finished.bits == 68


@given(seeds, st.integers(-4, 4))
def test_the_most_weight_fits_in_any_order(seed: int, zx: int) -> None:
    draw, register = Draw(seed), Accumulator(8)
    values = Interval(0, 3).moved(-zx)
    w, bias = draw.rng.integers(-9, 10, (1, 6, 1, 1)), int(draw.rng.integers(-60, 61))
    (bound,) = channel_bounds(values, w, [bias], [0])
    total, most = int(absolute_sums(w, 0)[0]), most_weight(values, bias, register)
    assert total > most or bound.partial.fits(register)
    alike = np.full((1, most + 1, 1, 1), 1 if bias >= 0 else -1)
    signs = channel_bounds(values, alike, [bias], [0]) + channel_bounds(values, -alike, [bias], [0])
    assert not all(b.partial.reach <= register.high for b in signs)


@pytest.mark.parametrize(
    ("ends", "bits"),
    [((0, 0), 1), ((-1, 0), 1), ((0, 1), 2), ((-128, 127), 8), ((-129, 0), 9), ((3, 128), 9)],
)
def test_the_width_of_an_interval(ends: tuple[int, int], bits: int) -> None:
    found = Interval(*ends)
    assert found.bits == bits and found.fits(Accumulator(bits))
    assert bits == 1 or not found.fits(Accumulator(bits - 1))
