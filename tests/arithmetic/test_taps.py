"""Which cells meet: the taps against sums of inputs with one cell set."""

from __future__ import annotations

import numpy as np
import pytest

from deployq.arithmetic.geometry import ConvGeometry, ConvTransposeGeometry
from deployq.arithmetic.oracle.conv_transpose import conv_transpose_accumulate
from deployq.arithmetic.oracle.linear import conv_accumulate
from deployq.arithmetic.taps import window_taps

SIZE, KERNEL = (4, 5), (3, 2)


@pytest.mark.parametrize(
    ("geometry", "accumulate"),
    [
        (ConvGeometry((2, 1), (1, 0, 2, 1), (1, 2)), conv_accumulate),
        (ConvTransposeGeometry((2, 3), (1, 0, 2, 1), (1, 2), 1, (0, 2)), conv_transpose_accumulate),
    ],
)
def test_each_output_cell_reads_the_cells_of_its_taps(
    geometry: ConvGeometry, accumulate: object
) -> None:
    rows, columns = window_taps(geometry, SIZE, KERNEL)
    assert rows.shape[1:] == (3,) and columns.shape[1:] == (2,)
    assert {-1} < set(rows.ravel()) and {-1} < set(columns.ravel())
    x = np.arange(1, 21).reshape(1, 1, *SIZE)
    for i, j in np.ndindex(*KERNEL):
        w = np.zeros((1, 1, *KERNEL), np.int64)
        w[0, 0, i, j] = 1
        met = np.pad(x[0, 0], ((0, 1), (0, 1)))[np.ix_(rows[:, i], columns[:, j])]
        found = accumulate(x, 0, w, 0, None, geometry)  # type: ignore[operator] # an oracle
        np.testing.assert_array_equal(found[0, 0], met)
