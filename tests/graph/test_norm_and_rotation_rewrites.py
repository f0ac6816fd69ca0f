"""Root mean squares become one operator, rotations sums and products with constants."""

from __future__ import annotations

import math
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
    for batch in (x, torch.randn(5, 4, WIDTH)):
        torch.testing.assert_close(graph(batch), model(batch), atol=TOLERANCE, rtol=TOLERANCE)
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


def halves(m: Any, x: Tensor) -> Tensor:
    """Halves of a row turned, as most language models have it."""
    a, b = x[..., : WIDTH // 2], x[..., WIDTH // 2 :]
    return x * m.cos + torch.cat([-b, a], -1) * m.sin


def test_a_rotation_of_halves_negates_nothing() -> None:
    angle = torch.rand(4, WIDTH)
    calls = captured(halves, cos=angle.cos(), sin=angle.sin())
    assert "neg" not in calls and calls.count("mul") == 2


def test_a_sign_that_no_constant_can_take_stays() -> None:
    assert "neg" in captured(lambda m, x: torch.cat([-x, x], -1) * x[..., :1])
    assert "neg" in captured(lambda m, x: torch.cat([-x, x], -1) * m.one, one=torch.ones(1))
    assert captured(lambda m, x: -x * m.w) == ["mul"]


def test_rows_of_unit_length_are_a_norm() -> None:
    assert captured(lambda m, x: nn.functional.normalize(x, dim=-1)) == ["rms_norm"]
    assert "rms_norm" not in captured(lambda m, x: nn.functional.normalize(x, dim=1))
    assert "rms_norm" not in captured(lambda m, x: nn.functional.normalize(x, dim=-1, eps=0.1))


@pytest.mark.parametrize("cube", [lambda x: torch.pow(x, 3.0), lambda x: x * x * x])
def test_a_gelu_by_tanh_is_one_call(cube: Callable[[Tensor], Tensor]) -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * cube(x))
        return 0.5 * x * (1.0 + torch.tanh(inner))

    assert captured(body) == ["gelu"]
    assert "gelu" not in captured(lambda m, x: 0.5 * x * (1.0 + torch.tanh(0.8 * x)))


def test_products_with_the_weight_on_the_other_side_are_layers() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        flat = x.view(-1, WIDTH)
        return torch.addmm(m.b, flat, m.square).view(-1, 4, WIDTH)

    torch.manual_seed(1)
    calls = captured(body, b=nn.Parameter(torch.randn(WIDTH)),
                     square=nn.Parameter(torch.randn(WIDTH, WIDTH)))  # fmt: skip
    assert "linear" in calls and "addmm" not in calls
    assert "addmm" in captured(lambda m, x: torch.addmm(m.w, x[:, 0], x[0, :1].T @ x[0, :1]))


def test_a_row_is_a_map() -> None:
    layer = nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2)
    assert captured(lambda m, x: m.layer(x), layer=layer) == ["unsqueeze", "conv2d", "squeeze"]


@pytest.mark.parametrize(
    ("kernel", "options"),
    [(2, {"stride": 2}), (3, {"padding": 1}), (2, {"dilation": (1, 2), "stride": (1, 3)})],
)
def test_windows_are_moved(kernel: int, options: dict[str, Any]) -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        y: Tensor = nn.functional.unfold(x[:, None] * m.w, kernel, **options)
        return y

    calls = captured(body)
    assert "im2col" not in calls and ("cat" in calls) == (options != {"stride": 2})


@pytest.mark.parametrize(
    ("kernel", "options"),
    [(2, {"stride": 2}), (3, {"padding": 1, "stride": 2}), (2, {"dilation": (2, 1)})],
)
def test_windows_are_summed_by_a_layer(kernel: int, options: dict[str, Any]) -> None:
    """Fold behind unfold, over a map whose last rows no window of steps of 2 reaches."""

    def body(m: Any, x: Tensor) -> Tensor:
        maps = torch.stack((x, x * m.w), 1)
        windows = nn.functional.unfold(maps, kernel, **options).relu()
        y: Tensor = nn.functional.fold(windows, maps.shape[2:], kernel, **options)
        return y

    calls = captured(body)
    assert "col2im" not in calls and calls.count("conv_transpose2d") == 1


def test_a_fourier_transform_is_layers() -> None:
    calls = captured(lambda m, x: torch.fft.fftn(x, dim=(1, 2)).real / WIDTH)
    assert calls.count("linear") == 4 and calls.count("add") == 1


def test_what_is_made_of_tensors_learns_as_they_do() -> None:
    def body(m: Any, x: Tensor) -> tuple[Tensor, ...]:
        product = x * m.w
        rows = torch.addmm(m.b, x.view(-1, WIDTH), m.square).view(-1, 4, WIDTH)
        return product - product, rows - m.w, torch.fft.fftn(x, dim=(1, 2)).real

    frozen = nn.Parameter(torch.randn(WIDTH, WIDTH), requires_grad=False)
    model = Net(
        body, w=nn.Parameter(torch.randn(WIDTH)), b=nn.Parameter(torch.randn(WIDTH)), square=frozen
    ).eval()
    graph, x = capture(model, [torch.randn(3, 4, WIDTH)]), torch.randn(2, 4, WIDTH)
    torch.testing.assert_close(graph(x), model(x), atol=TOLERANCE, rtol=TOLERANCE)
    read = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    learned = {name for name, p in graph.named_parameters() if p.requires_grad}
    assert read & learned == {"w", "b", "w_negative"}
