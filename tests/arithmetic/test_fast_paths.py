"""What makes kernels fast: integer instructions on bytes, tables of pairs, pieces of batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq import affine
from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels import codes as kernels
from deployq.arithmetic.kernels import int8, pieces, precision
from deployq.arithmetic.kernels import linear as fast_linear
from deployq.arithmetic.kernels.elementwise import add, mul
from deployq.arithmetic.oracle import elementwise, linear
from deployq.errors import AccumulatorOverflowError
from deployq.qparams import QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import (
    FORMS,
    S8,
    U8,
    Draw,
    assert_codes,
    qtypes,
    seeds,
    tensor,
)

GEOMETRIES = [
    ConvGeometry(),
    ConvGeometry((2, 1), (1, 1, 1, 1), (1, 2)),
    ConvGeometry((1, 2), (1, 2, 1, 2), groups=2),
    ConvGeometry((2, 2), (1, 1, 0, 0), groups=8),
]
has_int8 = pytest.mark.skipif(not int8._is_exact(), reason="no exact integer convolution here")


@has_int8
@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from([U8, S8, QType(4, False)]), st.sampled_from(GEOMETRIES))
def test_convolutions_of_bytes_are_the_oracle(seed: int, xt: QType, geometry: ConvGeometry) -> None:
    draw = Draw(seed)
    x, w = draw.codes(xt, 2, 8, 9, 8), draw.codes(S8, 8, 8 // geometry.groups, 3, 3)
    zx, bias = int(draw.codes(xt)), draw.rng.integers(-(2**20), 2**20, 8)
    called: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        convolve = int8._Convolution.__call__

        def spy(self: Any, *operands: Any) -> torch.Tensor:
            called.append(len(operands))
            return convolve(self, *operands)

        patch.setattr(int8._Convolution, "__call__", spy)
        sums = fast_linear.conv_sums(tensor(w), 0, torch.from_numpy(bias), geometry)
        found = sums(tensor(x), zx)
    assert called and found.dtype == torch.float32
    np.testing.assert_array_equal(
        found.numpy(), linear.conv_accumulate(x, zx, w, 0, bias, geometry)
    )


@has_int8
def test_the_bound_of_bytes_counts_the_bias() -> None:
    w = torch.full((2, 33, 3, 3), 127, dtype=torch.int8)  # 255 * 127 * 297 = 9,618,345
    ready = precision.weights(w, 0, 0, torch.tensor([0, 2**24 - 9_618_345 - 1]))
    assert int8.int8_convolution(w, ready, ConvGeometry(), (0, 0)) is not None
    ready = precision.weights(w, 0, 0, torch.tensor([0, 9_618_345 - 2**24]))
    assert int8.int8_convolution(w, ready, ConvGeometry(), (0, 0)) is None


def _saturating(self: Any, x: torch.Tensor, zero_point: int) -> torch.Tensor:
    """As a processor without an exact instruction: pairs of products saturate at 16 bits."""
    return torch.full((1, 64, 9, 9), 32767.0)


def _gone(self: Any, x: torch.Tensor, zero_point: int) -> torch.Tensor:
    raise AttributeError("no such operator")


@pytest.mark.parametrize("broken", [_saturating, _gone])
def test_what_is_not_exact_is_left_alone(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8._Convolution, "__call__", broken)
    int8._is_exact.cache_clear()
    try:
        draw = Draw(0)
        x, w = draw.codes(U8, 2, 4, 6, 6), draw.codes(S8, 4, 4, 3, 3)
        sums = fast_linear.conv_sums(tensor(w), 0, None, ConvGeometry())(tensor(x), 7)
    finally:
        int8._is_exact.cache_clear()
    expected = linear.conv_accumulate(x, 7, w, 0, None, ConvGeometry())
    np.testing.assert_array_equal(sums.numpy(), expected)


@pytest.mark.parametrize(("slow", "fast"), [(elementwise.add, add), (elementwise.mul, mul)])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "types", [(U8, S8, U8), (S8, U8, S8), (QType(4, True), S8, QType(16, True))]
)
def test_a_table_of_pairs_is_the_oracle(
    slow: Any, fast: Any, form: Form, types: tuple[QType, ...]
) -> None:
    draw = Draw(5, ties=True)
    qa, qb, out = (draw.params(qtype) for qtype in types)
    a, b = draw.codes(types[0], 2, 5, 90, 90), draw.codes(types[1], 2, 5, 90, 90)
    expected = slow(a, qa, b, qb, out, form, bounds=(0, 100))
    last = tensor(a).contiguous(memory_format=torch.channels_last), tensor(b)
    for left, right in ((tensor(a), tensor(b)), last):
        found = fast(left, qa, right, qb, out, form, bounds=(0, 100))
        assert_codes(found, expected, out)
    row = tensor(b[:, :1, :1, :1])
    found = fast(tensor(a), qa, row, qb, out, form)
    assert_codes(found, slow(a, qa, b[:, :1, :1, :1], qb, out, form), out)


def test_codes_that_do_not_occur_overflow_nothing() -> None:
    draw, form = Draw(3), Form(Kind.FIXED, Rounding.DOUBLE, left_shift=27)
    q, high = QParams(U8, np.asarray(1, np.float32)), np.uint8([255])
    a = draw.codes(QType(2, False), 70_000)
    found = add(tensor(a), q, tensor(a), q, q, form)
    assert_codes(found, elementwise.add(a, q, a, q, q, form), q)
    with pytest.raises(AccumulatorOverflowError):
        add(tensor(high), q, tensor(high), q, q, form)


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_pieces_are_the_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 3 * 5 * 4 * 4)  # three rows
    x = torch.arange(rows * 5 * 4 * 4).reshape(rows, 5, 4, 4)
    seen: list[int] = []

    def half(part: torch.Tensor) -> torch.Tensor:
        seen.append(len(part))
        return part[:, :, ::2].contiguous(memory_format=torch.channels_last) * 3

    found = pieces.in_pieces(half, 5 * 4 * 4, x)
    assert torch.equal(found, half(x)) and found.is_contiguous(memory_format=torch.channels_last)
    assert max(seen[:-1]) <= 3 and sum(seen[:-1]) == rows


def test_rank_one_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 4)
    x = torch.arange(10)
    assert torch.equal(pieces.in_pieces(lambda part: part.flip(0), 10, x), x.flip(0))


@settings(max_examples=100, deadline=None)
@given(seeds, qtypes, st.booleans())
def test_quantizing_is_law_one(seed: int, qtype: QType, ties: bool) -> None:
    draw = Draw(seed, ties=ties)
    qparams = draw.params(qtype)
    x = np.float32(draw.rng.normal(0, qtype.qmax, 400)) * qparams.scale
    x[:80] = (draw.rng.integers(-300, 300, 80) + np.float32(0.5)) * qparams.scale
    x[80:84] = [3e38, -3e38, 0, -0.0]
    assert_codes(
        kernels.quantize(torch.from_numpy(x), qparams), affine.quantize(x, qparams), qparams
    )
    codes = affine.quantize(x, qparams)
    reals = kernels.dequantize(torch.from_numpy(codes.astype(np.int64)), qparams)
    assert np.array_equal(reals.numpy(), affine.dequantize(codes, qparams))
