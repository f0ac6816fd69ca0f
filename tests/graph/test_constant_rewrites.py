"""Constant rows beside computed ones, and sums of constants: what is joined, and what learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from deployq.graph.capture import capture
from deployq.graph.masks import is_mask
from tests.graph.networks import Net, calls_of

WIDTH, TOKENS = 12, 5
TOLERANCE = 1e-6
"""Sums change their order: float32 rounding, of values about 1."""
Body = Callable[[Any, Tensor], Tensor]


def tokens(batch: int) -> Tensor:
    return torch.randn(batch, TOKENS, WIDTH, generator=torch.Generator().manual_seed(batch))


def parameter(*shape: int, learns: bool = True) -> nn.Parameter:
    value = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    return nn.Parameter(value, requires_grad=learns)


def captured(body: Body, **children: Any) -> fx.GraphModule:
    """The graph, after a check at other batches too."""
    torch.manual_seed(0)
    net = Net(body, layer=nn.Linear(WIDTH, WIDTH), **children).eval()
    graph = capture(net, [tokens(2)])
    for batch in (1, 3):
        x = tokens(batch)
        torch.testing.assert_close(graph(x), net(x), atol=TOLERANCE, rtol=TOLERANCE)
    return graph


def learned(graph: fx.GraphModule) -> dict[str, tuple[int, ...]]:
    """Shapes of what learns beside the layer."""
    read = {str(n.target) for n in graph.graph.nodes if n.op == "get_attr"}
    return {
        name: tuple(p.shape)
        for name, p in graph.named_parameters()
        if p.requires_grad and name in read and not name.startswith("layer.")
    }


def beside(m: Any, x: Tensor) -> Tensor:
    return torch.cat([spread(m.token, x), m.layer(x)], 1)


def test_class_token_and_positions_are_one_constant() -> None:
    graph = captured(lambda m, x: beside(m, x) + m.positions, token=parameter(1, 1, WIDTH),
                     positions=parameter(1, TOKENS + 1, WIDTH))  # fmt: skip
    assert calls_of(graph) == ["linear", "pad", "add"]
    assert learned(graph) == {"positions_with_token": (1, TOKENS + 1, WIDTH)}


def test_a_token_alone_learns_and_its_padding_does_not() -> None:
    graph = captured(beside, token=parameter(1, 1, WIDTH))
    assert calls_of(graph) == ["linear", "pad", "pad", "add"]
    assert learned(graph) == {"token": (1, 1, WIDTH)}


def test_positions_that_do_not_learn_stay_apart_from_a_token_that_does() -> None:
    positions = parameter(1, TOKENS + 1, WIDTH, learns=False)
    graph = captured(lambda m, x: beside(m, x) + m.positions, token=parameter(1, 1, WIDTH),
                     positions=positions)  # fmt: skip
    assert calls_of(graph).count("add") == 2
    assert learned(graph) == {"token": (1, 1, WIDTH)}


def test_buffers_stay_buffers() -> None:
    graph = captured(lambda m, x: beside(m, x) + m.positions,
                     token=nn.Buffer(torch.randn(1, 1, WIDTH)),
                     positions=nn.Buffer(torch.randn(1, TOKENS + 1, WIDTH)))  # fmt: skip
    assert calls_of(graph) == ["linear", "pad", "add"]
    assert learned(graph) == {} and "positions_with_token" in dict(graph.named_buffers())


def spread(token: Tensor, x: Tensor, rows: int = -1) -> Tensor:
    return token.expand(x.shape[0], rows, WIDTH)


WHOLE = "linear sym_size expand cat"


@pytest.mark.parametrize(("parts", "calls"), [
    (lambda m, x, y: [t := spread(m.token, x), y, t], "linear pad pad add pad add"),
    (lambda m, x, y: [y, spread(m.token, x)], "linear pad pad add"),
    (lambda m, x, y: [spread(m.pair, x), spread(m.token, x), y], "linear pad pad add"),
    (lambda m, x, y: [spread(m.still, x, 4), y], "linear pad pad add"),
    (lambda m, x, y: [spread(m.number, x), y], "linear pad pad add"),
    (lambda m, x, y: [spread(m.token, x, 4), y], WHOLE),
    (lambda m, x, y: [y, y, spread(m.token, x)], WHOLE),
    (lambda m, x, y: [y, m.layer(y), spread(m.token, x)], f"linear {WHOLE}"),
    (lambda m, x, y: [spread(m.still, x), spread(m.token, x), y], f"expand {WHOLE}"),
], ids=["both sides", "behind", "two", "rows", "columns", "rows that learn as one",
        "one computed twice", "two computed", "one of two learns"])  # fmt: skip
def test_rows_beside_a_tensor(parts: Callable[..., list[Tensor]], calls: str) -> None:
    graph = captured(lambda m, x: torch.cat(parts(m, x, m.layer(x)), 1),
                     token=parameter(1, 1, WIDTH), pair=parameter(1, 2, WIDTH),
                     still=nn.Buffer(torch.randn(1, 1, WIDTH)),
                     number=nn.Buffer(torch.randn(1, 1, 1)))  # fmt: skip
    assert sorted(calls_of(graph)) == sorted(calls.split())


def test_a_sum_with_a_wider_constant_has_its_shape() -> None:
    graph = captured(lambda m, x: (m.layer(x)[:, :1] + m.a) + m.b, a=parameter(1, 1, WIDTH),
                     b=parameter(1, TOKENS, WIDTH))  # fmt: skip
    (total,) = (n for n in graph.graph.nodes if "add" in str(n.target))
    assert tuple(total.meta["val"].shape[1:]) == (TOKENS, WIDTH)
    assert learned(graph) == {"b_with_a": (1, TOKENS, WIDTH)}


def distances() -> Tensor:
    return torch.randn(1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(3))


HIDDEN = torch.zeros(TOKENS, WIDTH).masked_fill(torch.ones(TOKENS, WIDTH).triu(1) > 0, -100.0)


@pytest.mark.parametrize("masked", [HIDDEN, HIDDEN + 0.5, HIDDEN + distances(), 2 * HIDDEN,
                                    HIDDEN.masked_fill(HIDDEN < 0, float("-inf"))])  # fmt: skip
def test_masks_stay_apart_from_a_bias(masked: Tensor) -> None:
    assert is_mask(masked)
    graph = captured(lambda m, x: (m.layer(x) + m.a) + m.b, a=nn.Parameter(distances()),
                     b=nn.Buffer(masked))  # fmt: skip
    assert calls_of(graph).count("add") == 2


@pytest.mark.parametrize("constant", [
    distances(), torch.linspace(-60, 60, 100), torch.tensor([-124.0, -117.0, -104.0]),
    torch.tensor([-40.0, 0.0]), torch.zeros(0),
], ids=["about 0", "even", "an offset", "small", "empty"])  # fmt: skip
def test_other_constants_are_no_masks(constant: Tensor) -> None:
    assert not is_mask(constant)


@pytest.mark.parametrize("learns", [True, False])
def test_what_is_folded_learns_where_its_source_does(learns: bool) -> None:
    graph = captured(lambda m, x: m.layer(x) + torch.exp(m.a), a=parameter(WIDTH, learns=learns))
    assert list(learned(graph).values()) == [(WIDTH,)] * learns
