from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels import linear as kernels
from deployq.arithmetic.kernels import precision
from deployq.arithmetic.oracle import linear as oracle
from deployq.errors import InputError
from deployq.qparams import IntArray
from deployq.qtypes import QType
from tests.arithmetic.cases import S8, U8, Draw, narrow_qtypes, qtypes, seeds, tensor

GEOMETRIES = [
    ConvGeometry(),
    ConvGeometry((2, 1), (1, 0, 2, 1), (1, 2)),
    ConvGeometry((1, 2), (1, 1, 1, 1), groups=2),
    ConvGeometry((2, 2), (1, 1, 0, 0), (2, 1), groups=4),
]


def looped_conv(
    x: IntArray, zx: int, w: IntArray, zw: IntArray, bias: IntArray, geometry: ConvGeometry
) -> IntArray:
    """The convolution as its definition, one product at a time in Python integers."""
    (_, _, *size), (outputs, per_group, *kernel) = x.shape, w.shape
    acc = np.zeros((len(x), outputs, *geometry.output_size((size[0], size[1]), (3, 2))), int)
    for n, o, row, column in np.ndindex(*acc.shape):
        group = o // (outputs // geometry.groups)
        total = int(bias[o])
        for c, i, j in itertools.product(range(per_group), range(kernel[0]), range(kernel[1])):
            y = row * geometry.strides[0] + i * geometry.dilations[0] - geometry.pads[0]
            z = column * geometry.strides[1] + j * geometry.dilations[1] - geometry.pads[1]
            if 0 <= y < size[0] and 0 <= z < size[1]:
                cell = int(x[n, group * per_group + c, y, z]) - zx
                total += cell * (int(w[o, c, i, j]) - int(zw[o]))
        acc[n, o, row, column] = total
    return acc


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_oracle_is_the_definition(geometry: ConvGeometry) -> None:
    draw = Draw(3)
    x, w = draw.codes(U8, 2, 4, 6, 7), draw.codes(S8, 8, 4 // geometry.groups, 3, 2)
    zw, bias = draw.codes(S8, 8), draw.rng.integers(-999, 999, 8)
    found = oracle.conv_accumulate(x, 131, w, zw, bias, geometry)
    np.testing.assert_array_equal(found, looped_conv(x, 131, w, zw, bias, geometry))


@settings(max_examples=60, deadline=None)
@given(seeds, qtypes, narrow_qtypes, st.sampled_from(GEOMETRIES), st.booleans())
def test_conv_kernel_is_the_oracle(
    seed: int, xt: QType, wt: QType, geometry: ConvGeometry, per_channel: bool
) -> None:
    draw = Draw(seed)
    x, w = draw.codes(xt, 2, 8, 9, 8), draw.codes(wt, 8, 8 // geometry.groups, 3, 3)
    zx, zw = int(draw.codes(xt)), draw.codes(wt, 8) if per_channel else int(draw.codes(wt))
    bias = draw.rng.integers(-(2**20), 2**20, 8)
    found = kernels.conv_accumulate(tensor(x), zx, tensor(w), zw, torch.from_numpy(bias), geometry)
    expected = oracle.conv_accumulate(x, zx, w, zw, bias, geometry)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), expected)


@settings(max_examples=40, deadline=None)
@given(seeds, qtypes, narrow_qtypes, st.sampled_from([(5, 40), (2, 3, 40), (40,)]))
def test_gemm_kernel_is_the_oracle(seed: int, xt: QType, wt: QType, shape: tuple[int, ...]) -> None:
    draw = Draw(seed)
    x, w, zw = draw.codes(xt, *shape), draw.codes(wt, 40, 6), draw.codes(wt, 6)
    zx, bias = int(draw.codes(xt)), draw.rng.integers(-(2**20), 2**20, 6)
    found = kernels.gemm_accumulate(tensor(x), zx, tensor(w), zw, torch.from_numpy(bias))
    expected = oracle.gemm_accumulate(x, zx, w, zw, bias)
    np.testing.assert_array_equal(found.numpy(), expected)
    by_hand = (x.astype(object) - zx) @ (w.astype(object) - zw.astype(object)) + bias
    assert (expected == by_hand).all()


@settings(max_examples=40, deadline=None)
@given(seeds, qtypes, qtypes)
def test_matmul_kernel_is_the_oracle(seed: int, at: QType, bt: QType) -> None:
    draw = Draw(seed)
    a, b = draw.codes(at, 2, 3, 4, 33), draw.codes(bt, 3, 33, 5)
    za, zb = int(draw.codes(at)), int(draw.codes(bt))
    found = kernels.matmul_accumulate(tensor(a), za, tensor(b), zb)
    expected = oracle.matmul_accumulate(a, za, b, zb)
    np.testing.assert_array_equal(found.numpy(), expected)
    by_hand = (a[1, 2].astype(object) - za) @ (b[2].astype(object) - zb)
    assert (expected[1, 2] == by_hand).all()


def constant_gemm(xt: QType, wt: QType, depth: int) -> tuple[IntArray, IntArray]:
    """Operands at the top of their types: odd sums, as large as they get."""
    return np.full((1, depth), xt.qmax, xt.dtype), np.full((depth, 2), wt.qmax, wt.dtype)


@pytest.mark.parametrize(
    ("xt", "wt", "depth", "products"),
    [
        (QType(4, False), QType(4, True), 4608, ["float32"]),
        (U8, S8, 517, ["float32"]),  # 255 * 127 * 517 is just below 2**24
        (U8, S8, 519, ["float32", "float32"]),
        (U8, S8, 7000, ["float32", "float32"]),
        (U8, S8, 9000, ["float64"]),
        (QType(16, False), QType(16, True), 33, ["float64"]),
        (QType(31, False), QType(31, True), 3, []),  # the oracle
    ],
)
def test_the_bound_chooses_the_float(
    xt: QType, wt: QType, depth: int, products: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def spy(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append(str(a.dtype).removeprefix("torch."))
        return a @ b

    monkeypatch.setattr(torch, "matmul", spy)
    x, w = constant_gemm(xt, wt, depth)
    found = kernels.gemm_accumulate(tensor(x), 0, torch.from_numpy(w.astype(np.int32)), 0, None)
    assert found.tolist() == [[xt.qmax * wt.qmax * depth] * 2]
    assert seen == products


@pytest.mark.parametrize("setting", ["highest", "high", "medium"])
def test_the_user_precision_neither_matters_nor_changes(setting: str) -> None:
    draw, before = Draw(0), torch.get_float32_matmul_precision()
    x, w = draw.codes(U8, 20, 256), draw.codes(S8, 256, 32)
    torch.set_float32_matmul_precision(setting)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = kernels.gemm_accumulate(tensor(x), 7, tensor(w), 0, None)
        assert torch.get_float32_matmul_precision() == setting
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found.numpy(), oracle.gemm_accumulate(x, 7, w, 0, None))


def test_the_switches_come_back_after_an_error() -> None:
    one_dnn: Any = torch.backends.mkldnn
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with suppress(RuntimeError), precision.plain_float32(torch.device("cpu")):
            assert one_dnn.matmul.fp32_precision == "ieee"
            raise RuntimeError
        assert one_dnn.matmul.fp32_precision == "bf16"
    finally:
        torch.set_float32_matmul_precision(before)


def test_an_empty_batch_has_empty_sums() -> None:
    x, w = torch.zeros(0, 3, 5, 5, dtype=torch.uint8), torch.ones(2, 3, 3, 3, dtype=torch.int8)
    assert kernels.conv_accumulate(x, 0, w, 0, None, ConvGeometry()).shape == (0, 2, 3, 3)


@pytest.mark.parametrize("conv", [oracle.conv_accumulate, kernels.conv_accumulate])
def test_channels_that_do_not_fit_are_refused(conv: Any) -> None:
    make: Any = np.zeros if conv is oracle.conv_accumulate else torch.zeros
    with pytest.raises(InputError, match="groups"):
        conv(make((1, 3, 4, 4)), 0, make((2, 3, 1, 1)), 0, None, ConvGeometry(groups=2))
