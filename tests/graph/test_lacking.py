"""Functions that a target lacks, said by others: which, as what, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.capture import capture
from deployq.graph.lacking import say_by_others
from deployq.graph.operators import onnx_type
from deployq_targets import TargetProfile, load_profile

RUNTIME, NPU = load_profile("ort-cpu"), load_profile("int8-npu")


class Gated(nn.Module):
    """Squeeze and excitation between HardSwish of a map and of rows, as MobileNetV3 has them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.excite = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1, bias=False)
        self.wide, self.head = nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.stem(x))
        x = x * functional.hardsigmoid(self.excite(x.mean((2, 3), keepdim=True)))
        x = functional.hardswish(self.wide(x.mean((2, 3))))
        y: Tensor = self.head(x)
        return y


class Alone(nn.Module):
    """A gate over an input of any rank."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.hardsigmoid(x)


def operators(model: nn.Module, x: Tensor, profile: TargetProfile) -> list[str]:
    """After the rewrites, whose outputs are the model's."""
    module = capture(model.eval(), (x,))
    say_by_others(module, profile)
    calls = [n for n in module.graph.nodes if n.op == "call_function"]
    names = [n.meta["name"] for n in calls]
    assert len(names) == len(set(names))
    torch.testing.assert_close(module(x), model(x))
    return [onnx_type(module, n) for n in calls]


def test_gates_become_layers_with_a_clamp() -> None:
    found = operators(Gated(), torch.randn(4, 3, 6, 6), RUNTIME)
    assert found == [
        "Conv", "Conv", "Clip", "Mul", "GlobalAveragePool", "Conv", "Clip", "Mul",
        "GlobalAveragePool", "Flatten",
        "Gemm", "Unsqueeze", "Unsqueeze", "Conv", "Clip", "Squeeze", "Squeeze", "Mul", "Gemm",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 7), (4, 5, 7, 3)])
def test_inputs_of_two_to_four_axes_are_read_as_maps(shape: tuple[int, ...]) -> None:
    found = operators(Alone(), 4 * torch.randn(shape), RUNTIME)
    moves = 4 - len(shape)
    assert found == ["Unsqueeze"] * moves + ["Conv", "Clip"] + ["Squeeze"] * moves


def test_what_has_no_map_stays() -> None:
    assert operators(Alone(), torch.randn(4, 5, 2, 3, 2), RUNTIME) == ["HardSigmoid"]


@pytest.mark.parametrize("name", ["int8-npu", "qnn-htp", "tensorrt"])
def test_a_target_keeps_what_it_has_or_joins(name: str) -> None:
    found = operators(Gated(), torch.randn(4, 3, 6, 6), load_profile(name))
    assert found.count("HardSwish") == 2 and found.count("HardSigmoid") == 1


def test_a_layer_that_others_read_keeps_its_tensors() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            return functional.hardsigmoid(self.layer(y)) + y

    found = operators(Shared(), torch.randn(4, 3, 5, 5), RUNTIME)
    assert found == ["Conv", "Conv", "Conv", "Clip", "Add"]


def test_no_operator_of_the_network_is_left_in_float() -> None:
    x = torch.randn(16, 3, 6, 6)
    prepared = pipeline.prepare(Gated().eval(), [x], "ort-cpu")
    pipeline.calibrate(prepared, Dataset({"x": x.numpy()}))
    assert prepared.plan.floats == ()
    gates = [grid for name, grid in prepared.grids().items() if name.endswith("hardsigmoid")]
    assert len(gates) == 2
    assert all(float(np.float32(g.qtype.qmax - g.zero_point) * g.scale) <= 1 for g in gates)


@pytest.mark.parametrize(
    ("target", "kernel", "found"),
    [
        ("qnn-htp", (4, 5), ["GlobalAveragePool"]),
        ("qnn-htp", (3, 5), ["Slice", "GlobalAveragePool"]),
        ("qnn-htp", (2, 5), ["AveragePool"]),  # two windows
        ("int8-npu", (4, 5), ["AveragePool"]),  # which it has
    ],
)
def test_one_window_for_the_whole_map_is_a_global_average(
    target: str, kernel: tuple[int, int], found: list[str]
) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.AvgPool2d(kernel))
    assert operators(model, torch.randn(2, 2, 4, 5), load_profile(target)) == ["Conv", *found]
