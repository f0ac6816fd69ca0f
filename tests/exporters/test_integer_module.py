"""The integer module: what the file computes."""

from __future__ import annotations

import pytest
import torch

from deployq.arithmetic.geometry import ConvGeometry
from deployq.graph.preparation import PreparedModel
from deployq_exporters.integer_module import integer_module
from deployq_exporters.stored_layers import stored_layers
from tests.graph.networks import Net, calibrated, conv, images


def padded(*pads: int) -> PreparedModel:
    torch.manual_seed(0)
    model = Net(lambda m, x: m.stem(x), stem=conv(3, 4)).eval()
    prepared = calibrated(model, "int8-npu")
    prepared.units()["stem"].geometry = ConvGeometry(pads=pads)
    return prepared


@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 2, 0, 2), (1, 1, 1, 0), (0, 1, 2, 1)])
def test_padding_is_lowered(pads: tuple[int, ...]) -> None:
    prepared = padded(*pads)
    expected = prepared.module(images())
    torch.testing.assert_close(
        integer_module(prepared, stored_layers(prepared))(images()), expected
    )
