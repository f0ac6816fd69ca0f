"""Which kind of a convolution a layer is."""

from __future__ import annotations

import pytest

from deployq.arithmetic.form_names import DEPTHWISE_BY_2, DILATED_IN_STEPS, GROUPED, form_name
from deployq.arithmetic.geometry import ConvGeometry

NO_PADS = (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("weight", "strides", "dilations", "groups", "name"),
    [
        ((8, 1, 3, 3), (2, 2), (1, 1), 8, DEPTHWISE_BY_2),
        ((8, 1, 7, 2), (2, 2), (2, 2), 8, DEPTHWISE_BY_2),
        ((8, 1, 3, 3), (1, 1), (1, 1), 8, GROUPED),
        ((8, 1, 3, 3), (2, 1), (1, 1), 8, GROUPED),
        ((8, 1, 3, 3), (3, 3), (1, 1), 8, GROUPED),
        ((8, 1, 8, 3), (2, 2), (1, 1), 8, GROUPED),
        ((8, 1, 1, 1), (2, 2), (1, 1), 8, GROUPED),
        ((16, 1, 3, 3), (2, 2), (1, 1), 8, GROUPED),  # two outputs a channel
        ((1, 1, 3, 3), (2, 2), (1, 1), 1, "Conv"),
        ((8, 4, 3, 3), (2, 2), (1, 1), 1, "Conv"),
        ((8, 4, 3, 3), (1, 1), (2, 2), 1, "Conv"),
        ((8, 4, 3, 3), (2, 2), (2, 2), 1, DILATED_IN_STEPS),
        ((8, 4, 3, 3), (3, 1), (1, 2), 1, DILATED_IN_STEPS),
        ((8, 4, 3, 3), (3, 1), (1, 2), 2, DILATED_IN_STEPS),
        ((8, 4, 3, 3), (1, 1), (1, 2), 2, GROUPED),
    ],
)
def test_kind_of_a_convolution(
    weight: tuple[int, int, int, int], strides: tuple[int, int], dilations: tuple[int, int],
    groups: int, name: str,
) -> None:  # fmt: skip
    geometry = ConvGeometry(strides, NO_PADS, dilations, groups)
    assert form_name("Conv", weight, geometry) == name
    assert form_name("Gemm", weight[:2], geometry) == "Gemm"
