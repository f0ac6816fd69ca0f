from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deployq.arithmetic.geometry import ConvGeometry, PoolGeometry, output_length
from deployq.errors import InputError

small = st.integers(1, 4)


@given(small, small, small, st.tuples(*[st.integers(0, 3)] * 2))
def test_output_size_is_that_of_torch(
    kernel: int, stride: int, dilation: int, pads: tuple[int, int]
) -> None:
    geometry = ConvGeometry((stride, stride), (*pads, *pads), (dilation, dilation))
    x, w = torch.zeros(1, 1, 14, 15), torch.zeros(1, 1, kernel, kernel)
    y = torch.conv2d(x, w, stride=stride, padding=pads, dilation=dilation)
    assert geometry.output_size((14, 15), (kernel, kernel)) == tuple(y.shape[2:])


def test_a_window_longer_than_its_input_is_refused() -> None:
    with pytest.raises(InputError, match="kernel 3 with dilation 3 over 5"):
        output_length(5, 3, 1, 1, 3)


def test_windows_stop_at_the_border() -> None:
    geometry = PoolGeometry((3, 3), (2, 2), (1, 0, 1, 1))
    assert geometry.window((5, 5), 0, 0) == (slice(0, 2), slice(0, 3))
    assert geometry.divisor((5, 5), 0, 0) == 6
    counted = PoolGeometry((3, 3), (2, 2), (1, 0, 1, 1), count_include_pad=True)
    assert counted.divisor((5, 5), 0, 0) == 9


@pytest.mark.parametrize("facts", [{"strides": (0, 1)}, {"pads": (0, -1, 0, 0)}, {"groups": 0}])
def test_impossible_geometries_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="positive"):
        ConvGeometry(**facts)


def test_a_pad_as_long_as_the_kernel_is_refused() -> None:
    with pytest.raises(InputError, match="shorter"):
        PoolGeometry((2, 3), pads=(2, 0, 0, 0))
