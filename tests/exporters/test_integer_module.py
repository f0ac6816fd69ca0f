"""The integer module: what the file computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from deployq.arithmetic.geometry import ConvGeometry
from deployq.graph.preparation import PreparedModel
from deployq.qgraph import read_graph
from deployq_exporters.integer_module import integer_module
from deployq_exporters.lowering import lower, to_proto
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


@pytest.mark.parametrize("target", ["ort-cpu", "tensorrt"])
def test_a_float_operator_reads_the_parameter_not_the_codes(target: str) -> None:
    """The weight of a layer, and its bias, as operands of a maximum and a difference in float."""
    torch.manual_seed(0)
    net = Net(
        lambda m, x: m.h(torch.maximum(m.g(x.flatten(1))[:, None], m.h.weight).amax(1) - m.h.bias),
        g=nn.Linear(108, 20),
        h=nn.Linear(20, 20),
    )
    prepared = calibrated(net.eval(), target)
    module = integer_module(prepared, stored_layers(prepared))
    torch.testing.assert_close(module(images()), prepared.module(images()))
    graph = read_graph(to_proto(lower(prepared, prepared.profile)))
    largest = next(node for node in graph.floats if node.op_type == "Max")
    (weight,) = largest.constants.values()
    assert np.array_equal(weight, net.h.weight.detach().numpy())


def test_a_layer_and_a_product_have_codes_of_their_own_of_one_weight() -> None:
    torch.manual_seed(0)
    net = Net(
        lambda m, x: m.h(torch.matmul(m.g(x.flatten(1)), m.h.weight)),
        g=nn.Linear(108, 20),
        h=nn.Linear(20, 20),
    )
    prepared = calibrated(net.eval(), "ort-cpu")
    model = to_proto(lower(prepared, prepared.profile))
    stored = {tensor.name for tensor in model.graph.initializer}
    assert {"h.weight.codes", "h.weight_1.codes"} <= stored
    assert read_graph(model).floats == ()
