"""Networks over rows (N, C, L): what becomes of them, and that every output stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.graph.capture import capture
from deployq.graph.operators import onnx_type
from deployq.graph.preparation import prepare_graph
from deployq_targets import load_profile
from tests.graph.networks import Net

X = torch.randn(3, 4, 24, generator=torch.Generator().manual_seed(0))


def learned(norm: nn.BatchNorm1d) -> nn.BatchNorm1d:
    """With statistics that are not 0 and 1."""
    for tensor in (norm.weight, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 1.5)
    return norm


def conv(inputs: int = 4, **words: int) -> nn.Conv1d:
    return nn.Conv1d(inputs, 4, 3, padding=1, **words)


def operators(model: nn.Module) -> list[str]:
    """Of the captured graph, which computes what the model does to the bit."""
    module = capture(model.eval(), (X,))
    assert torch.equal(module(X), model(X))
    calls = [n for n in module.graph.nodes if n.op in ("call_function", "call_module")]
    return [onnx_type(module, n) for n in calls]


class Rows(nn.Module):
    """Layer, BatchNorm, activation, pool, sum and mean, as networks over signals have them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = conv(), conv(), nn.Linear(4, 2)
        self.norm, self.drop = learned(nn.BatchNorm1d(4)), nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool1d(self.drop(F.relu(self.norm(self.first(x)))), 2)
        y = y + self.second(F.avg_pool1d(x, 2))
        z: Tensor = self.head(y.mean(-1))
        return z


def test_a_whole_network_is_one_of_maps() -> None:
    assert operators(Rows()) == [
        "Unsqueeze", "Conv", "BatchNormalization", "Relu", "Identity", "MaxPool", "Unsqueeze",
        "AveragePool", "Conv", "Add", "GlobalAveragePool", "Flatten", "Gemm",
    ]  # fmt: skip


BODIES = {
    "shortcut": lambda m, x: (y := m.a(x)) + m.b(y),
    "gate": lambda m, x: m.a(x) * m.b(x).sigmoid(),
    "channels": lambda m, x: torch.cat([m.a(x), m.b(x)], 1),
    "length": lambda m, x: torch.cat([m.a(x), m.b(x)], -1),
    "samples": lambda m, x: torch.cat([m.a(x), m.b(x)], 0),
    "causal": lambda m, x: m.b(F.pad(m.a(x), (2, 0))),
    "mirrored": lambda m, x: m.b(F.pad(m.a(x), (2, 3), mode="reflect")),
    "padded channels": lambda m, x: F.pad(m.a(x), (1, 1, 0, 2)),
    "kept mean": lambda m, x: m.a(x).mean(2, keepdim=True) * m.b(x),
    "mean of channels": lambda m, x: m.a(x).mean(1),
    "slopes": lambda m, x: m.b(m.slopes(m.a(x))),
    "scaled": lambda m, x: m.a(x) + torch.ones(4, 1),
    "rounded up": lambda m, x: F.max_pool1d(m.a(x), 5, ceil_mode=True),
    "uncounted": lambda m, x: F.avg_pool1d(m.a(x), 3, 2, 1, False, False),
    "overlapping": lambda m, x: F.max_pool1d(m.a(x), 3, 2, 1),
    "adaptive": lambda m, x: F.adaptive_avg_pool1d(m.a(x), 6),
    "an input": lambda m, x: F.adaptive_avg_pool1d(x, 1) + m.a(x),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_outputs_stay(name: str) -> None:
    operators(Net(BODIES[name], a=conv(), b=conv(), slopes=nn.PReLU(4)))


def test_a_norm_of_two_calls_stays_one_of_rows() -> None:
    model = Net(
        lambda m, x: m.norm(m.a(x)) + m.norm(x), a=conv(), norm=learned(nn.BatchNorm1d(4))
    )  # fmt: skip
    with pytest.raises(Exception, match="N, C, H, W"):
        operators(model)


@pytest.mark.parametrize("target", ["ort-cpu", "litert-ref", "qnn-htp", "tensorrt"])
def test_norm_activation_and_layer_are_one(target: str) -> None:
    model = Net(
        lambda m, x: m.b(F.relu(m.norm(m.a(x)))), a=conv(groups=2, bias=False), b=conv(dilation=2),
        norm=learned(nn.BatchNorm1d(4)),
    )  # fmt: skip
    plan = prepare_graph(capture(model.eval(), (X,)), load_profile(target)).plan
    assert [layer.name for layer in plan.layers] == ["a.conv2d", "b.conv2d"]
    assert plan.floats == () and len(plan.tensors) == 3
