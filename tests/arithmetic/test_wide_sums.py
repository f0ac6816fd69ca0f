"""16-bit codes in accumulators of 40, 48 and 64 bits: sums, overflow and requantization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Accumulator, Form, Kind, Overflow, Rounding
from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels import linear as fast
from deployq.arithmetic.kernels import precision
from deployq.arithmetic.kernels import requantize as kernels
from deployq.arithmetic.oracle import linear as oracle
from deployq.arithmetic.oracle import requantize as reference
from deployq.errors import AccumulatorOverflowError
from deployq.qtypes import QType
from tests.arithmetic.cases import EXACT, FLOAT32, Draw, assert_codes, seeds, tensor

S8, S16, U16 = QType(8, True), QType(16, True), QType(16, False)
WIDTHS = (40, 48, 64)
FORMS = [
    EXACT,
    FLOAT32,
    *(Form(Kind.FIXED, rounding) for rounding in Rounding if "double" not in rounding.value),
    Form(Kind.FIXED, Rounding.HALF_UP, multiplier_bits=15),
]
ONE = np.float32(1)

types = st.tuples(st.sampled_from([S16, U16]), st.sampled_from([S8, S16]))
accumulators = st.builds(Accumulator, st.sampled_from(WIDTHS), st.sampled_from(Overflow))


def near(draw: Draw, bits: int, size: int) -> np.ndarray:
    """Biases whose sums lie on both sides of both ends of a register."""
    ends = draw.rng.choice([-1, 0, 1], size) * (1 << (bits - 1))
    return np.asarray(ends + draw.rng.integers(-(1 << 34), 1 << 34, size), np.int64)


def exact(x: np.ndarray, zero: int, w: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(N, O) sums in Python integers."""
    return (x.astype(object) - zero) @ w.astype(object) + bias.astype(object)


def held(total: int, accumulator: Accumulator) -> int:
    """The definition, in Python integers."""
    if accumulator.overflow is Overflow.SATURATE:
        return max(accumulator.low, min(accumulator.high, total))
    return (total - accumulator.low) % (1 << accumulator.bits) + accumulator.low


@settings(max_examples=80, deadline=None)
@given(seed=seeds, kinds=types, accumulator=accumulators, form=st.sampled_from(FORMS))
def test_kernels_are_the_oracle_and_the_definition(
    seed: int, kinds: tuple[QType, QType], accumulator: Accumulator, form: Form
) -> None:
    draw, (xt, wt) = Draw(seed), kinds
    zero = int(draw.codes(xt))
    x, w = draw.codes(xt, 4, 23), draw.codes(wt, 23, 6)
    bias = near(draw, min(accumulator.bits, 62), 6)
    sums = oracle.gemm_accumulate(x, zero, w, 0, bias)
    total = exact(x, zero, w, bias)
    assert sums.tolist() == total.tolist()
    found = fast.gemm_accumulate(tensor(x), zero, tensor(w), 0, torch.from_numpy(bias))
    assert found.tolist() == sums.tolist()
    outside = (total < accumulator.low) | (total > accumulator.high)
    if accumulator.overflow is Overflow.REJECT and outside.any():
        for fit, values in ((reference, sums), (kernels, found)):
            with pytest.raises(AccumulatorOverflowError, match=f"{accumulator.bits}-bit"):
                fit.fit_accumulator(values, accumulator, "sum", channel_axis=-1)  # type: ignore[attr-defined]
        return
    kept = reference.fit_accumulator(sums, accumulator, "sum", channel_axis=-1)
    assert kept.tolist() == [[held(t, accumulator) for t in row] for row in total.tolist()]
    fitted = kernels.fit_accumulator(found, accumulator, "sum", channel_axis=-1)
    assert fitted.tolist() == kept.tolist()
    out = draw.params(S16)
    spread = np.float32(2.0 ** -int(draw.rng.integers(12, 25)))
    scales = np.asarray(draw.scale(6) * spread, np.float32)
    expected = reference.requantize(kept, ONE, scales, out, form, channel_axis=-1)
    codes = kernels.requantize(fitted, ONE, scales, out, form, channel_axis=-1)
    assert_codes(codes, expected, out)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, kinds=types, whole=st.booleans())
def test_convolutions_of_16_bits_are_the_oracle(
    seed: int, kinds: tuple[QType, QType], whole: bool
) -> None:
    draw, (xt, wt) = Draw(seed), kinds
    geometry = ConvGeometry((1, 2), (1, 0, 2, 1), (1, 1), int(draw.rng.choice([1, 2, 4])))
    x, zero = draw.codes(xt, 2, 4, 7, 6), int(draw.codes(xt))
    if whole:  # every cell at an end of its type
        x = np.where(x > np.median(x), xt.qmax, xt.qmin).astype(xt.dtype)
    w, bias = draw.codes(wt, 8, 4 // geometry.groups, 3, 3), near(draw, 48, 8)
    expected = oracle.conv_accumulate(x, zero, w, 0, bias, geometry)
    found = fast.conv_accumulate(tensor(x), zero, tensor(w), 0, torch.from_numpy(bias), geometry)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_a_long_reduction_leaves_48_bits_by_itself() -> None:
    length = 1 << 18
    x, w = np.full((1, length), 32767, np.int16), np.full((length, 1), 32767, np.int16)
    total, narrow = length * 32767**2, Accumulator(48, Overflow.WRAP)
    assert total > narrow.high
    sums = fast.gemm_accumulate(torch.from_numpy(x), 0, torch.from_numpy(w), 0, None)
    assert int(sums) == total
    assert int(kernels.fit_accumulator(sums, narrow, "sum")) == total - (1 << 48)
    held_high = kernels.fit_accumulator(sums, Accumulator(48, Overflow.SATURATE), "sum")
    assert int(held_high) == narrow.high


def test_sums_beyond_float64_are_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Draw(0)
    x, w = draw.codes(S16, 3, 40), draw.codes(S16, 40, 5)
    operands = tensor(x), 0, tensor(w), 0, None
    expected = oracle.gemm_accumulate(x, 0, w, 0, None)
    assert torch.equal(fast.gemm_accumulate(*operands), torch.from_numpy(expected))
    monkeypatch.setattr(precision, "FLOAT64_EXACT", 2.0**30)
    assert torch.equal(fast.gemm_accumulate(*operands), torch.from_numpy(expected))


def test_sums_beyond_64_bits_are_refused() -> None:
    x, w = torch.full((1, 4), 32767, dtype=torch.int16), torch.ones((4, 1), dtype=torch.int8)
    bias = torch.tensor([2**63 - 4 * 32768])
    assert int(fast.gemm_accumulate(x, 0, w, 0, bias)) == 2**63 - 4
    with pytest.raises(AccumulatorOverflowError, match="fits 64 bits"):
        fast.gemm_accumulate(x, 0, w, 0, bias + 4 * 32768 - 1)
