"""Rewrites: what each takes, what it leaves, and that outputs stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.errors import UnsupportedError
from deployq.graph.capture import capture
from tests.graph.networks import Net, calls_of, conv, images, with_statistics

Body = Callable[[Any, Tensor], Any]


def captured(body: Body, exact: bool = True, **children: nn.Module) -> str:
    """Calls of the normalized graph, after a check that it computes what the model does."""
    torch.manual_seed(0)
    model = with_statistics(Net(body, **children)).eval()
    graph = capture(model, [images(2)])
    expected, found = model(images()), graph(images())
    # a mean over 36 cells may be summed in another order: 36 roundings of values below 4
    assert torch.equal(found, expected) if exact else torch.allclose(found, expected, atol=1e-5)
    return " ".join(calls_of(graph))


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (lambda m, x: torch.relu_(x * x), "mul relu"),
        (lambda m, x: F.relu6(x * x, inplace=True), "mul clamp"),
        (lambda m, x: (x * x).add_(x).clamp_(-1, 1), "mul add clamp"),
        (lambda m, x: F.relu((x * x).flatten(1), inplace=True), "mul flatten relu"),
    ],
)
def test_functionalize_takes(body: Body, calls: str) -> None:
    assert captured(body) == calls


def writes_through_a_slice(m: Any, x: Tensor) -> Tensor:
    y = x * 2
    y[:, 0] = 0.0
    return y + 1


def changes_the_base_of_a_view(m: Any, x: Tensor) -> Tensor:
    y = x * 2
    flat = y.flatten(1)
    y.relu_()
    return flat


def counts(m: Any, x: Tensor) -> Tensor:
    m.count.add_(1)
    return x * m.count


@pytest.mark.parametrize("body", [writes_through_a_slice, changes_the_base_of_a_view, counts])
def test_functionalize_refuses_what_others_see(body: Body) -> None:
    model = Net(body)
    model.register_buffer("count", torch.zeros(1))
    with pytest.raises(UnsupportedError, match=r"(?s)in-place.*next: write the result to a new"):
        capture(model, [images(2)])


def test_functionalize_leaves_comparisons_alone() -> None:
    assert captured(lambda m, x: x * ((x > 0) & (x < 1))) == "gt lt logical_and mul"


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (lambda m, x: (x * x).contiguous(), "mul"),
        (lambda m, x: (x * x)[:].clone() + x, "mul add"),
        (lambda m, x: nn.Identity()(x * x), "mul"),
        (lambda m, x: (x * x)[:, 1:], "mul slice"),
        (lambda m, x: (x * x + 0) * 1.0 / 1 - 0, "mul"),
        (lambda m, x: (x * x)[:, :, ::2], "mul slice"),
    ],
)
def test_remove_identity(body: Body, calls: str) -> None:
    assert captured(body) == calls


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (lambda m, x: F.relu6(x), "clamp"),
        (lambda m, x: F.hardtanh(x, -0.5, 2.0), "clamp"),
        (lambda m, x: F.relu(x), "relu"),
        (lambda m, x: F.leaky_relu(x), "leaky_relu"),
    ],
)
def test_bounds_to_clamp(body: Body, calls: str) -> None:
    assert captured(body) == calls


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (lambda m, x: x.view(x.size(0), -1), "flatten"),
        (lambda m, x: x.reshape(-1, 108), "flatten"),
        (lambda m, x: (x * x).view(x.shape[0], 108), "mul flatten"),
        (lambda m, x: x.reshape(x.size(0), 3, -1), "reshape"),
        (lambda m, x: x.reshape(-1, 6), "reshape"),
    ],
)
def test_view_to_flatten(body: Body, calls: str) -> None:
    assert captured(body) == calls


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (lambda m, x: x.mean((2, 3)), "adaptive_avg_pool2d flatten"),
        (lambda m, x: x.mean((-1, -2)), "adaptive_avg_pool2d flatten"),
        (lambda m, x: x.mean((2, 3), keepdim=True), "adaptive_avg_pool2d"),
        (lambda m, x: x.mean((1, 2)), "mean"),
        (lambda m, x: x.mean(3), "mean"),
        (lambda m, x: x.mean((2, 3), dtype=torch.float64).float(), "mean to"),
        (lambda m, x: x + x.mean(), "mean add"),
    ],
)
def test_mean_to_pool(body: Body, calls: str) -> None:
    assert captured(body, exact=False) == calls


@pytest.mark.parametrize(
    ("padding", "size", "overload"),
    [
        ("same", 3, "conv2d.default"),
        ("valid", 2, "conv2d.default"),
        ((0, 1), 3, "conv2d.default"),
        ("same", 2, "conv2d.padding"),  # one side gets more than the other
    ],
)
def test_conv_padding_to_numbers(padding: Any, size: int, overload: str) -> None:
    layer = nn.Conv2d(3, 2, size, padding=padding, dilation=(1, 1 if size == 2 else 2))
    model = Net(lambda m, x: m.layer(x), layer=layer).eval()
    graph = capture(model, [images(2)])
    assert torch.equal(graph(images()), model(images()))
    (call,) = (node for node in graph.graph.nodes if node.op == "call_function")
    assert str(call.target) == f"aten.{overload}"


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (lambda m, x: m.norm(x), "conv2d BatchNorm2d"),
        (lambda m, x: m.norm(F.relu(m.conv(x))), "conv2d relu conv2d BatchNorm2d"),
        (lambda m, x: m.norm(m.conv(x)), "conv2d BatchNorm2d"),
    ],
)
def test_batch_norm_to_depthwise(body: Body, calls: str) -> None:
    assert captured(body, conv=conv(3, 3), norm=nn.BatchNorm2d(3)) == calls


def test_batch_norm_to_depthwise_gives_a_convolution_of_ones() -> None:
    graph = capture(Net(lambda m, x: m.norm(x), norm=nn.BatchNorm2d(3)), [images(2)])
    weight = graph.get_parameter("norm_depthwise_weight")
    assert weight.shape == (3, 1, 1, 1) and (weight == 1).all()


def test_a_layer_that_feeds_others_keeps_its_batch_norm_apart() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        y = m.conv(x)
        return y + m.norm(y)

    calls = captured(body, conv=conv(3, 3), norm=nn.BatchNorm2d(3))
    assert calls == "conv2d conv2d BatchNorm2d add"


def test_batch_norm_of_rows_goes_over_a_map_of_one_cell() -> None:
    calls = captured(lambda m, x: m.norm(x.flatten(1)), norm=nn.BatchNorm1d(108))
    assert calls == "flatten unsqueeze unsqueeze conv2d BatchNorm2d flatten"


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (lambda m, x: x * 2, "conv2d"),
        (lambda m, x: (x - 0.5) / 3.0 + 1, "conv2d"),  # one for the chain
        (lambda m, x: 1 - x, "conv2d"),
        (lambda m, x: m.gain * x, "conv2d"),
        (lambda m, x: x / m.gain, "conv2d"),
        (lambda m, x: m.gain / x, "div"),
        (lambda m, x: x + m.gain.sum(), "conv2d"),
        (lambda m, x: x * m.weight.view(6), "mul"),  # for each column
        (lambda m, x: x.flatten(1) * 2, "flatten mul"),
        (lambda m, x: F.silu(x), "sigmoid mul"),
        (lambda m, x: x**2 + torch.square(x), "mul mul add"),
        (lambda m, x: F.adaptive_avg_pool2d(x, 1), "adaptive_avg_pool2d"),
        (lambda m, x: F.adaptive_avg_pool2d(x, (3, None)), "avg_pool2d"),
        (lambda m, x: F.adaptive_avg_pool2d(x, 6) * x, "mul"),
        (lambda m, x: F.adaptive_avg_pool2d(x, 4), "adaptive_avg_pool2d"),
        (lambda m, x: F.adaptive_avg_pool2d(x, (3, 4)), "adaptive_avg_pool2d"),
        (lambda m, x: F.adaptive_max_pool2d(x, 2), "max_pool2d"),
        (lambda m, x: x.amax((2, 3), keepdim=True), "max_pool2d"),
        (lambda m, x: x.amax((2, 3)), "max_pool2d flatten"),
        (lambda m, x: x.amax(1, True) * x, "permute max_pool2d permute mul"),
        (lambda m, x: x.max(2)[0], "permute max_pool2d squeeze"),
        (lambda m, x: x.flatten(2).max(-1).values, "reshape max_pool2d flatten"),
        (lambda m, x: x.flatten(2).amax(1), "flatten permute unsqueeze max_pool2d flatten"),
        (
            lambda m, x: x.flatten(2).max(2)[1].float(),
            "flatten max <built-in function getitem> to",
        ),  # an index
        (lambda m, x: x.amax(0), "amax"),  # over samples
        (lambda m, x: x.amax((1, 2)), "amax"),
        (lambda m, x: F.max_pool2d(x, 3, 2, ceil_mode=True), "pad max_pool2d"),
        (lambda m, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), "pad max_pool2d"),
        (lambda m, x: F.max_pool2d(x, 2, ceil_mode=True), "max_pool2d"),
        (lambda m, x: F.avg_pool2d(x, 2, ceil_mode=True), "avg_pool2d"),
        (lambda m, x: x * F.adaptive_avg_pool2d(x, 1).expand_as(x), "adaptive_avg_pool2d mul"),
        (lambda m, x: x + m.gain[None].expand(x.shape[0], 3, 1, 1), "conv2d"),
        (lambda m, x: x[:, :1].expand(-1, 3, -1, -1), "slice index_select"),
        (
            lambda m, x: torch.cat([y := x[:, :1].expand(-1, 3, -1, -1), x + y], 1),
            "slice index_select add cat",
        ),
        (lambda m, x: F.conv2d(x, m.weight - m.weight.mean()), "conv2d"),
    ],
)
def test_forms_that_preparation_knows(body: Body, calls: str) -> None:
    gain, weight = torch.tensor([0.5, -2.0, 1.5])[:, None, None], torch.ones(2, 3, 1, 1)
    tensors = {"gain": nn.Parameter(gain), "weight": nn.Parameter(weight)}
    model = Net(body)
    for name, tensor in tensors.items():
        model.register_parameter(name, tensor)
    graph = capture(model, [images(2)])
    x = images()
    assert torch.allclose(graph(x), model(x), atol=1e-5)  # float32 sums in another order
    assert " ".join(calls_of(graph)) == calls


def test_batch_norm_over_another_axis_than_the_layers_is_refused() -> None:
    children = {"fc": nn.Linear(6, 6), "norm": nn.BatchNorm1d(6)}
    model = Net(lambda m, x: m.norm(m.fc(x.mean(1))), **children)
    with pytest.raises(UnsupportedError, match="rank 3"):
        capture(model, [images(2)])


@pytest.mark.parametrize(("axis", "found"), [(3, -1), (-1, -1), (1, 1)])
def test_softmax_over_the_last_axis(axis: int, found: int) -> None:
    graph = capture(Net(lambda m, x: torch.softmax(x * x, axis)).eval(), [images(2)])
    (node,) = (n for n in graph.graph.nodes if n.target == torch.ops.aten.softmax.int)
    assert node.args[1] == found
    assert torch.equal(graph(images()), torch.softmax(images() ** 2, axis))


def test_channels_that_hold_the_samples_are_no_depthwise_convolution() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        return x.flatten(2).permute(1, 0, 2).reshape(1, 3 * x.shape[0], 1, 36).transpose(2, 3) * 0.5

    assert captured(body).split()[-1] == "mul"
