"""Transposed convolutions: the definition, the oracle, the kernel and torch's own sizes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from deployq.arithmetic.geometry import ConvTransposeGeometry
from deployq.arithmetic.kernels.conv_transpose import conv_transpose_accumulate as kernel
from deployq.arithmetic.oracle.conv_transpose import conv_transpose_accumulate as oracle
from deployq.arithmetic.weight_layout import inputs_first, outputs_first
from deployq.errors import InputError
from deployq.qparams import IntArray
from deployq.qtypes import QType
from tests.arithmetic.cases import S8, U8, Draw, narrow_qtypes, qtypes, seeds, tensor

pairs = st.tuples(*[st.integers(1, 3)] * 2)


@st.composite
def geometries(draw: st.DrawFn) -> ConvTransposeGeometry:
    """Strides and dilations of 1 to 3, pads on four sides, every legal output padding."""
    strides, dilations = draw(pairs), draw(pairs)
    pads = draw(st.tuples(*[st.integers(0, 2)] * 4))
    most = [max(pair) - 1 for pair in zip(strides, dilations, strict=True)]
    extra = draw(st.tuples(*(st.integers(0, top) for top in most)))
    return ConvTransposeGeometry(strides, pads, dilations, draw(st.sampled_from([1, 2, 4])), extra)


def fits(geometry: ConvTransposeGeometry, size: tuple[int, int], window: tuple[int, int]) -> bool:
    whole = geometry.whole_size(size, window)
    margins = geometry.margins()
    return min(whole[0] + margins[0] + margins[2], whole[1] + margins[1] + margins[3]) > 0


def by_definition(
    x: IntArray, zx: int, w: IntArray, zw: IntArray, bias: IntArray, geometry: ConvTransposeGeometry
) -> IntArray:
    """One product at a time, in Python integers."""
    (_, _, *size), (outputs, per_group, *window) = x.shape, w.shape
    shape = geometry.output_size((size[0], size[1]), (window[0], window[1]))
    acc = np.zeros((len(x), outputs, *shape), int) + bias.astype(int).reshape(1, -1, 1, 1)
    for n, o, c, i, j in np.ndindex(len(x), outputs, per_group, *window):
        source = o // (outputs // geometry.groups) * per_group + c
        for y, z in itertools.product(range(size[0]), range(size[1])):
            row = y * geometry.strides[0] + i * geometry.dilations[0] - geometry.pads[0]
            column = z * geometry.strides[1] + j * geometry.dilations[1] - geometry.pads[1]
            if 0 <= row < shape[0] and 0 <= column < shape[1]:
                weight = int(w[o, c, i, j]) - int(zw[o])
                acc[n, o, row, column] += (int(x[n, source, y, z]) - zx) * weight
    return acc


@settings(max_examples=25, deadline=None)
@given(seeds, geometries(), st.tuples(*[st.integers(1, 3)] * 4))
def test_the_oracle_is_the_definition(
    seed: int, geometry: ConvTransposeGeometry, sizes: tuple[int, int, int, int]
) -> None:
    draw, size, window = Draw(seed), sizes[:2], sizes[2:]
    assume(fits(geometry, size, window))
    x, w = draw.codes(U8, 2, 4, *size), draw.codes(S8, 4, 4 // geometry.groups, *window)
    zw, bias = draw.codes(S8, 4), draw.rng.integers(-999, 999, 4)
    found = oracle(x, 131, w, zw, bias, geometry)
    np.testing.assert_array_equal(found, by_definition(x, 131, w, zw, bias, geometry))


@settings(max_examples=80, deadline=None)
@given(seeds, qtypes, narrow_qtypes, geometries(), st.booleans())
def test_the_kernel_is_the_oracle(
    seed: int, xt: QType, wt: QType, geometry: ConvTransposeGeometry, per_channel: bool
) -> None:
    draw = Draw(seed)
    size = int(draw.rng.integers(1, 7)), int(draw.rng.integers(1, 7))
    window = int(draw.rng.integers(1, 5)), int(draw.rng.integers(1, 5))
    assume(fits(geometry, size, window))
    x, w = draw.codes(xt, 2, 8, *size), draw.codes(wt, 12, 8 // geometry.groups, *window)
    zx, zw = int(draw.codes(xt)), draw.codes(wt, 12) if per_channel else int(draw.codes(wt))
    bias = draw.rng.integers(-(2**20), 2**20, 12)
    found = kernel(tensor(x), zx, tensor(w), zw, torch.from_numpy(bias), geometry)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), oracle(x, zx, w, zw, bias, geometry))


@settings(max_examples=40, deadline=None)
@given(seeds, geometries(), st.tuples(*[st.integers(0, 2)] * 2))
def test_it_is_the_transposed_convolution_of_torch(
    seed: int, geometry: ConvTransposeGeometry, padding: tuple[int, int]
) -> None:
    """Sizes, and values of small integers, which float64 has exactly."""
    own = ConvTransposeGeometry(
        geometry.strides, (*padding, *padding), geometry.dilations, geometry.groups,
        geometry.output_padding,
    )  # fmt: skip
    draw = Draw(seed)
    x, w = draw.codes(S8, 2, 4, 5, 4), draw.codes(S8, 8, 4 // own.groups, 3, 3)
    given_weight = torch.from_numpy(inputs_first(w, own.groups)).double()
    expected = F.conv_transpose2d(
        torch.from_numpy(x).double(), given_weight, None, own.strides, padding,
        own.output_padding, own.groups, own.dilations,
    )  # fmt: skip
    assert own.output_size((5, 4), (3, 3)) == tuple(expected.shape[2:])
    np.testing.assert_array_equal(oracle(x, 0, w, 0, None, own), expected.numpy())


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_layouts_are_inverse_and_a_group_stays_together(groups: int) -> None:
    weight = np.arange(8 * 3 * 2 * 2).reshape(8, 3, 2, 2)
    turned = outputs_first(weight, groups)
    assert turned.shape == (3 * groups, 8 // groups, 2, 2)
    np.testing.assert_array_equal(inputs_first(turned, groups), weight)
    assert (turned[3 * groups - 1, 0] == weight[8 - 8 // groups, 2]).all()  # last group
    np.testing.assert_array_equal(outputs_first(torch.from_numpy(weight), groups), turned)


@pytest.mark.parametrize(("bits", "types"), [(8, ["float32"]), (16, ["float64"]), (30, [])])
def test_the_bound_chooses_the_float(
    bits: int, types: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, plain = [], F.conv_transpose2d

    def spy(cells: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(str(cells.dtype).removeprefix("torch."))
        return plain(cells, *rest)

    monkeypatch.setattr(F, "conv_transpose2d", spy)
    top = (1 << (bits - 1)) - 1
    x, w = np.full((1, 8, 2, 2), top, np.int32), np.full((3, 8, 2, 2), top, np.int32)
    geometry = ConvTransposeGeometry((2, 2))
    found = kernel(torch.from_numpy(x), 0, torch.from_numpy(w), 0, None, geometry)
    assert found.unique().tolist() == [8 * top * top] and seen == types


def test_an_empty_batch_has_empty_sums() -> None:
    x, w = torch.zeros(0, 3, 5, 5, dtype=torch.uint8), torch.ones(2, 3, 3, 3, dtype=torch.int8)
    geometry = ConvTransposeGeometry((2, 2), (1, 1, 1, 1), output_padding=(1, 0))
    assert kernel(x, 0, w, 0, None, geometry).shape == (0, 2, 10, 9)


def test_an_output_padding_as_long_as_the_stride_is_refused() -> None:
    with pytest.raises(InputError, match=r"(?s)shorter than the stride.*0 to 1 rows and 0 to 0"):
        ConvTransposeGeometry((2, 1), output_padding=(0, 1))


@pytest.mark.parametrize("function", [oracle, kernel])
def test_what_does_not_fit_is_refused(function: Any) -> None:
    make: Any = np.zeros if function is oracle else torch.zeros
    with pytest.raises(InputError, match="groups"):
        function(
            make((1, 3, 4, 4)), 0, make((2, 3, 1, 1)), 0, None, ConvTransposeGeometry(groups=2)
        )
    with pytest.raises(InputError, match="pads leave something"):
        function(
            make((1, 3, 1, 1)), 0, make((2, 3, 1, 1)), 0, None,
            ConvTransposeGeometry(pads=(1, 0, 0, 0)),
        )  # fmt: skip
