from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployq.arithmetic.kernels.resize import nearest_resize as kernel
from deployq.arithmetic.oracle.resize import nearest_index
from deployq.arithmetic.oracle.resize import nearest_resize as oracle
from deployq.qtypes import QType
from tests.arithmetic.cases import Draw, qtypes, seeds, tensor

lengths = st.integers(1, 40)


@given(lengths, lengths)
def test_the_index_is_the_floor_of_the_fraction(length: int, size: int) -> None:
    assert nearest_index(length, size).tolist() == [i * length // size for i in range(size)]


@given(seeds, qtypes, st.tuples(*[st.integers(1, 9)] * 4))
def test_the_kernel_is_the_oracle(
    seed: int, qtype: QType, sizes: tuple[int, int, int, int]
) -> None:
    x = Draw(seed).codes(qtype, 2, 3, *sizes[:2])
    found, expected = kernel(tensor(x), sizes[2:]), oracle(x, sizes[2:])
    assert found.dtype == tensor(x).dtype and expected.dtype == x.dtype
    np.testing.assert_array_equal(found.numpy(), expected)


def test_twice_the_size_repeats_each_code() -> None:
    x = np.arange(6, dtype=np.int8).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(oracle(x, (4, 6))[0, 0], np.kron(x[0, 0], np.ones((2, 2))))
