"""Splits, shuffles and nearest resizing as movement of rank 4: what is taken, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.errors import UnsupportedError
from deployq.graph.capture import capture, graph_from_program
from deployq.graph.placement import place
from deployq.graph.recipe import Recipe
from deployq_targets import load_profile
from tests.graph.networks import Net, calls_of, graph_of, images

Body = Callable[[Any, Tensor], Any]


def captured(body: Body, channels: int = 12, size: int = 6) -> str:
    """Calls of the graph, after a check that each output is the model's, for another batch too."""
    model = Net(body).eval()
    graph = capture(model, [images(2, channels, size)])
    for batch in (1, 5):
        x = images(batch, channels, size)
        found, expected = graph(x), model(x)
        single = isinstance(expected, Tensor)
        pairs = zip([found], [expected]) if single else zip(found, expected, strict=True)  # noqa: B905
        assert all(torch.equal(*pair) for pair in pairs)
    assert all(n.meta["val"].ndim <= 4 for n in graph.graph.nodes if "val" in n.meta)
    return " ".join(calls_of(graph))


@pytest.mark.parametrize(("body", "calls"), [
    (lambda m, x: x.chunk(3, 1), "slice slice slice"),
    (lambda m, x: x.chunk(5, 1), "slice slice slice slice"),  # torch makes four parts of 3
    (lambda m, x: x.split(5, 1), "slice slice slice"),
    (lambda m, x: x.split([2, 4, 6], 1), "slice slice slice"),
    (lambda m, x: x.split([2, 4], -1)[1], "slice"),
    (lambda m, x: x.tensor_split(5, 1), "slice slice slice slice slice"),
    (lambda m, x: x.tensor_split((1, 7), 1), "slice slice slice"),
    (lambda m, x: x.unbind(3)[-1], "slice squeeze"),
    (lambda m, x: x.permute(1, 0, 2, 3).unbind(0)[4], "permute slice squeeze"),
    (lambda m, x: x[:, 3], "slice squeeze"),
    (lambda m, x: x[:, :, -1], "slice squeeze"),
    (lambda m, x: x.select(-1, -2), "slice squeeze"),
])  # fmt: skip
def test_parts_become_slices(body: Body, calls: str) -> None:
    assert captured(body) == calls


def test_an_element_of_the_batch_is_no_movement() -> None:
    graph = capture(Net(lambda m, x: x[0] * 2), [images(2)])
    assert calls_of(graph) == ["select", "mul"]


RESHAPED = "reshape permute reshape"


@pytest.mark.parametrize(("groups", "calls"), [(2, RESHAPED), (3, RESHAPED), (12, "reshape")])
def test_channel_shuffle_has_rank_4_in_every_spelling(groups: int, calls: str) -> None:
    def by_hand(m: Any, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous()
        return parts.view(n, -1, h, w)

    assert captured(by_hand) == calls
    assert captured(lambda m, x: F.channel_shuffle(x, groups)) == calls
    assert captured(_module(groups)) == calls


def _module(groups: int) -> Body:
    shuffle = nn.ChannelShuffle(groups)
    return lambda m, x: shuffle(x)


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffles_have_rank_4(factor: int) -> None:
    twice = f"{RESHAPED} permute reshape"
    channels = 2 * factor**2
    assert captured(lambda m, x: F.pixel_shuffle(x, factor), channels) == twice
    assert captured(lambda m, x: F.pixel_unshuffle(x, factor), channels) == twice


def test_axes_that_stay_together_are_merged_and_no_others() -> None:
    def body(m: Any, x: Tensor) -> Tensor:  # (N, 2, 6, 6, 6) by a permutation of every axis
        return x.reshape(-1, 2, 6, 6, 6).permute(0, 4, 3, 2, 1).reshape(-1, 12, 36)

    graph = capture(Net(body), [images(2, 12)])
    assert calls_of(graph) == RESHAPED.split()
    assert max(n.meta["val"].ndim for n in graph.graph.nodes if "val" in n.meta) == 5


def attention_parts(m: Any, x: Tensor) -> tuple[Tensor, ...]:
    """(N, 12, 36) to query, key and value of 2 heads, (N, 2, 12, 6)."""
    n, length, _ = x.flatten(2).shape
    joint = x.flatten(2).reshape(n, length, 3, 2, 6).permute(2, 0, 3, 1, 4)
    query, key, value = joint.unbind(0)
    return query, key, value


def test_joint_query_key_value_have_rank_4() -> None:
    assert captured(attention_parts) == " ".join(["slice permute"] * 3)


@pytest.mark.parametrize("body", [
    lambda m, x: x.reshape(-1, 2, 6, 6, 6).permute(2, 0, 1, 3, 4)[1],  # a later factor
    lambda m, x: x.reshape(-1, 8, 3, 3, 6).permute(1, 0, 2, 3, 4)[1],  # of two axes
    lambda m, x: x.reshape(-1, 2, 6, 6, 6).permute(1, 0, 2, 3, 4)[1:3],
])  # fmt: skip
def test_other_parts_stay_behind_their_reshape(body: Body) -> None:
    graph = capture(Net(body), [images(2, 12)])
    assert calls_of(graph)[:3] == ["reshape", "permute", "slice"]
    assert torch.equal(graph(images(3, 12)), body(None, images(3, 12)))


def test_a_rank_above_the_targets_is_refused() -> None:
    graph = graph_of(lambda m, x: x.reshape(-1, 3, 2, 3, 6).flip(1) * 2)
    with pytest.raises(UnsupportedError, match=r"(?s)reshape: .*max_rank.*rank 5.*up to 4.*next:"):
        place(graph, load_profile("int8-npu"), Recipe())


@pytest.mark.parametrize(("body", "calls"), [
    (lambda m, x: F.interpolate(x, scale_factor=2), "upsample_nearest2d"),
    (lambda m, x: F.interpolate(x, scale_factor=(3, 1)), "upsample_nearest2d"),
    (lambda m, x: F.interpolate(x, size=(18, 12)), "upsample_nearest2d"),
    (lambda m, x: F.interpolate(x, size=(13, 7)), "upsample_nearest2d"),
    (lambda m, x: F.interpolate(x, size=4), "upsample_nearest2d"),
    (lambda m, x: F.interpolate(x, scale_factor=2, mode="nearest-exact"), "upsample_nearest2d"),
    (lambda m, x: F.interpolate(x, scale_factor=0.5), "slice slice"),
    (lambda m, x: F.interpolate(x, scale_factor=(1 / 3, 2)), "slice upsample_nearest2d"),
    (lambda m, x: F.interpolate(x, scale_factor=0.5, mode="nearest-exact"), "slice slice"),
    (lambda m, x: torch.ops.aten.upsample_nearest2d(x, [12, 12]), "upsample_nearest2d"),
    (lambda m, x: F.interpolate(x * x, size=x.shape[2:]), "mul"),
])  # fmt: skip
def test_nearest_becomes_slices_and_one_resize(body: Body, calls: str) -> None:
    assert captured(body) == calls


@pytest.mark.parametrize(("axis", "calls"), [
    (1, "index_select"), (-1, "index_select"), (0, "unsqueeze index_select reshape"),
])  # fmt: skip
def test_repeats_are_picked(axis: int, calls: str) -> None:
    net = Net(lambda m, x: x.repeat_interleave(3, axis)).eval()
    graph, x = capture(net, [images(2)]), images(5)
    assert torch.equal(graph(x), net(x)) and " ".join(calls_of(graph)) == calls


@pytest.mark.parametrize(("body", "found"), [
    (lambda m, x: F.interpolate(x, size=(9, 9), mode="nearest-exact"), "9 cells from 6"),
    (lambda m, x: F.interpolate(x, scale_factor=1.45), "8 cells from 6"),
])  # fmt: skip
def test_other_cells_are_refused(body: Body, found: str) -> None:
    rule = rf"(?s)a nearest resize has a fixed size.*{found}.*next: resize by a whole factor"
    with pytest.raises(UnsupportedError, match=rule):
        captured(body)


def test_an_output_size_that_is_not_fixed_is_refused() -> None:
    free = torch.export.Dim.DYNAMIC
    net = Net(lambda m, x: F.interpolate(x, scale_factor=2)).eval()
    shapes = ({0: free, 2: free, 3: free},)
    program = torch.export.export(net, (images(2),), dynamic_shapes=shapes)
    with pytest.raises(UnsupportedError, match=r"(?s)fixed size.*not known before"):
        graph_from_program(program)


def test_bilinear_upsampling_has_no_integer_form() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear")

    rule = r"(?s)upsample_bilinear2d: .*no integer form of Resize.*next: replace"
    with pytest.raises(UnsupportedError, match=rule):
        place(graph_of(body), load_profile("int8-npu"), Recipe())
