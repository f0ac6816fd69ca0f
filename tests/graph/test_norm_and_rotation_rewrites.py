"""Root mean squares become one operator, rotations sums and products with constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deployq.graph.capture import capture
from tests.graph.networks import Net, calls_of

WIDTH = 8
TOLERANCE = 1e-5
"""Factors move into weights and constants: float32 rounding, of values about 1."""
Body = Callable[[Any, Tensor], Tensor]


def captured(body: Body, **children: Any) -> list[str]:
    """Calls of the graph, after a check of its values."""
    torch.manual_seed(0)
    model = Net(body, w=nn.Parameter(torch.randn(WIDTH)), **children).eval()
    x = torch.randn(3, 4, WIDTH)
    graph = capture(model, [x])
    torch.testing.assert_close(graph(x), model(x), atol=TOLERANCE, rtol=TOLERANCE)
    return calls_of(graph)


@pytest.mark.parametrize(
    "body",
    [
        lambda m, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * m.w,
        lambda m, x: m.w * (x / torch.sqrt((x * x).mean(2, True) + 1e-5)),
        lambda m, x: torch.rsqrt(torch.square(x).mean(-1, True) + 1e-5) * x,
        lambda m, x: (x.float() * torch.rsqrt(x.pow(2).mean(-1, True) + 1e-5)).to(x.dtype) * m.w,
    ],
)
def test_every_spelling_is_one_norm(body: Body) -> None:
    assert captured(body) == ["rms_norm"]


@pytest.mark.parametrize(
    "body",
    [
        lambda m, x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-5),  # another axis
        lambda m, x: m.w * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5),  # not of itself
        lambda m, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)),  # nothing is added
        lambda m, x: x * torch.rsqrt(x.pow(4).mean(-1, keepdim=True) + 1e-5),
    ],
)
def test_other_inverse_roots_stay(body: Body) -> None:
    assert "rms_norm" not in captured(body) and "rsqrt" in captured(body)


def test_a_norm_that_others_read_keeps_its_weight_apart() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
        return y * m.w + y

    assert captured(body) == ["rms_norm", "mul", "add"]


def rotated(m: Any, x: Tensor) -> Tensor:
    """Adjacent pairs turned."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    pairs = [even * m.cos - odd * m.sin, even * m.sin + odd * m.cos]
    return torch.stack(pairs, -1).flatten(-2)


def angles() -> dict[str, Tensor]:
    angle = torch.rand(4, WIDTH // 2)
    return {"cos": angle.cos(), "sin": angle.sin()}


def test_a_rotation_is_sums_and_products_and_takes_a_factor() -> None:
    calls = captured(lambda m, x: rotated(m, x) / 3, **angles())
    assert {"sub", "stack", "div"}.isdisjoint(calls)
    assert calls.count("mul") == 4 and calls.count("add") == 2 and calls.count("cat") == 1


def test_a_factor_passes_neither_a_number_nor_another_reader() -> None:
    assert "div" in captured(lambda m, x: (x * m.w + 1.0) / 3)
    assert "div" in captured(lambda m, x: (y := x * m.w) / 3 + y)


def test_differences_of_computed_tensors_stay() -> None:
    assert captured(lambda m, x: m.a(x) - x, a=nn.Linear(WIDTH, WIDTH)) == ["linear", "sub"]
    assert captured(lambda m, x: x - m.w) == ["add"]
    assert captured(lambda m, x: (y := x * m.w) + (x - y)) == ["mul", "sub", "add"]
