"""Zeros before a convolution become its own pads, on both sides of the lowering."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Linear
from deployq_exporters.lowering import lower, to_proto


class Padded(nn.Module):
    """A convolution behind a pad of left 0, right 1, top 2, bottom 1, or what is given."""

    def __init__(self, *pad: int, mode: str = "constant") -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, stride=2, padding=1)
        self.pad, self.mode = pad or (0, 1, 2, 1), mode

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, self.pad, self.mode))
        return y


def prepared(model: nn.Module) -> PreparedModel:
    torch.manual_seed(0)
    x = torch.rand(8, 2, 9, 9).numpy()
    model = pipeline.prepare(model.eval(), [torch.zeros(2, 2, 9, 9)], "int8-npu")
    return pipeline.calibrate(model, Dataset({"x": x}))


def nodes(model: PreparedModel) -> list[tuple[str, tuple[int, ...] | None]]:
    graph = read_graph(to_proto(lower(model, model.profile)))
    return [
        (node.op_type, node.geometry.pads if isinstance(node, Linear) else None)
        for node in graph.nodes
        if node.writes_codes
    ]


def test_zeros_become_pads() -> None:
    assert nodes(prepared(Padded())) == [("QuantizeLinear", None), ("Conv", (3, 1, 2, 2))]


def test_the_fake_quant_network_computes_the_same() -> None:
    model, x = Padded().eval(), torch.rand(3, 2, 9, 9)
    module = pipeline.prepare(model, [x], "int8-npu").module
    for child in module.modules():
        if hasattr(child, "enabled"):
            child.enabled = False
    # one float32 convolution over the same cells, taken by another algorithm
    assert torch.allclose(module(x), model(x), atol=1e-6)


@pytest.mark.parametrize("model", [Padded(1, 1, 1, 1, mode="reflect"), Padded(-1, 0, 0, 0)])
def test_other_pads_stay_operators(model: nn.Module) -> None:
    kinds = [kind for kind, _ in nodes(prepared(model))]
    assert kinds == ["QuantizeLinear", "Pad", "Conv"]
