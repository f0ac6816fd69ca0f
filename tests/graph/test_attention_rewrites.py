"""Attention in every spelling becomes layers, two products and a softmax, without loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.graph.capture import capture
from tests.graph.networks import Masked, Net, calls_of

WIDTH, HEADS, TOKENS = 12, 3, 5
TOLERANCE = 1e-5
"""Factors move into weights and sums change their order: float32 rounding, of values about 1."""
LATER = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
HEADS_APART = "linear linear linear " + "reshape permute " * 2 + "permute reshape"
MIXED = "matmul softmax matmul permute reshape linear"


def tokens(batch: int) -> Tensor:
    return torch.randn(batch, TOKENS, WIDTH, generator=torch.Generator().manual_seed(batch))


def captured(model: nn.Module) -> list[str]:
    """Calls of the graph, a transpose as a permute, after a check at other batches too."""
    torch.manual_seed(0)
    for parameter in model.parameters():  # MultiheadAttention begins with biases of zero
        nn.init.normal_(parameter, std=0.4)
    graph = capture(model.eval(), [tokens(2)])
    for batch in (1, 3):
        x = tokens(batch)
        torch.testing.assert_close(graph(x), model(x), atol=TOLERANCE, rtol=TOLERANCE)
    assert all(n.meta["val"].ndim <= 4 for n in graph.graph.nodes if "val" in n.meta)
    return ["permute" if call == "transpose" else call for call in calls_of(graph)]


class Joint(nn.Module):
    """One layer for queries, keys and values, as timm has it; ``attend`` mixes the heads."""

    def __init__(self, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.attend = attend

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        split = self.qkv(x).reshape(n, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        mixed = self.attend(*split.unbind(0)).transpose(1, 2).reshape(n, length, width)
        out: Tensor = self.proj(mixed)
        return out


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(-2, -1) / 2.0, -1) @ v


@pytest.mark.parametrize("attend", [F.scaled_dot_product_attention, by_hand])
def test_joint_projections_fall_apart_and_take_the_factor(attend: Callable[..., Tensor]) -> None:
    assert sorted(captured(Joint(attend))) == sorted(f"{HEADS_APART} {MIXED}".split())


@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention_has_the_same_form(batch_first: bool) -> None:
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first)

    def body(m: Any, x: Tensor) -> Tensor:
        x = x if batch_first else x.transpose(0, 1)
        y: Tensor = m.attention(x, x, x, need_weights=False)[0]
        return y if batch_first else y.transpose(0, 1)

    calls = captured(Net(body, attention=attention))
    assert sorted(calls) == sorted(f"{HEADS_APART} {MIXED}".split())


def test_names_lead_to_the_projections() -> None:
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    graph = capture(Net(lambda m, x: m.a(x, x, x)[0], a=attention).eval(), [tokens(2)])
    names = [str(n.meta["name"]) for n in graph.graph.nodes if "linear" in str(n.target)]
    assert names == ["a.in_proj.0", "a.in_proj.1", "a.in_proj.2", "a.out_proj"]


MASK = torch.rand(TOKENS, TOKENS, generator=torch.Generator().manual_seed(7)) < 0.7


@pytest.mark.parametrize("options", [
    {"is_causal": True}, {"scale": 0.3}, {"attn_mask": torch.randn(TOKENS, TOKENS)},
    {"attn_mask": MASK | torch.eye(TOKENS, dtype=torch.bool)},
], ids=["causal", "scale", "real mask", "mask"])  # fmt: skip
def test_options_of_attention_are_kept(options: dict[str, Any]) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, **options)

    assert "scaled_dot_product_attention" not in captured(Joint(attend))


SAME = torch.randn(TOKENS, TOKENS)


@pytest.mark.parametrize("attend", [
    lambda q, k: (q, q, q), lambda q, k: (q, k, k), lambda q, k: (k, k, q),
], ids=["one", "keys are values", "queries are keys"])  # fmt: skip
@pytest.mark.parametrize("mask", [None, SAME])
def test_operands_may_be_one_tensor(attend: Callable[..., Any], mask: Tensor | None) -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        q, k = (f(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for f in (m.q, m.k))
        return F.scaled_dot_product_attention(*attend(q, k), attn_mask=mask)

    calls = captured(Net(body, q=nn.Linear(WIDTH, WIDTH), k=nn.Linear(WIDTH, WIDTH)))
    assert calls.count("matmul") == 2


FOUR = torch.stack([SAME, SAME.T, -SAME, 2 * SAME])


def per_sample(x: Tensor) -> Tensor:
    return x[:, None, :, :TOKENS] * 1.5


@pytest.mark.parametrize("mask", [
    lambda x: None, lambda x: SAME, lambda x: FOUR, lambda x: FOUR[None],
    lambda x: SAME[None, None], lambda x: SAME[None] > -1, per_sample,
    lambda x: per_sample(x).expand(-1, 4, -1, -1) * 2,
], ids=["none", "(L, S)", "(H, L, S)", "(1, H, L, S)", "(1, 1, L, S)", "truths", "(N, 1, L, S)",
        "(N, H, L, S)"])  # fmt: skip
def test_grouped_heads_share_keys_and_values(mask: Callable[[Tensor], Tensor | None]) -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        q = m.q(x).reshape(-1, TOKENS, 4, 3).transpose(1, 2)
        k, v = (f(x).reshape(-1, TOKENS, 2, 3).transpose(1, 2) for f in (m.k, m.v))
        return F.scaled_dot_product_attention(q, k, v, mask(x), enable_gqa=True).flatten(1)

    net = Net(body, q=nn.Linear(WIDTH, 12), k=nn.Linear(WIDTH, 6), v=nn.Linear(WIDTH, 6)).eval()
    graph = capture(net, [tokens(2)])
    assert calls_of(graph).count("matmul") == 2
    torch.testing.assert_close(graph(tokens(3)), net(tokens(3)), atol=TOLERANCE, rtol=TOLERANCE)


HIDES_ONE = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril(-1)  # the first query sees no key


@pytest.mark.parametrize("mask", [
    HIDES_ONE, torch.zeros(TOKENS, TOKENS).masked_fill(~HIDES_ONE, float("-inf")),
])  # fmt: skip
def test_a_query_without_keys_leaves_the_attention_whole(mask: Tensor) -> None:
    """Torch gives 0 there, a softmax of -inf alone is no number."""
    calls = captured(Joint(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask)))
    assert "scaled_dot_product_attention" in calls


@pytest.mark.parametrize(("body", "calls"), [
    (lambda m, x: (m.layer(x)[..., :6], m.layer(x)[..., 6:]), 2),  # called twice
    (lambda m, x: (m.layer(x)[..., :6], m.layer(x)[..., 4:]), 2),  # overlapping
], ids=["twice", "overlapping"])  # fmt: skip
def test_other_slices_leave_the_layer_whole(body: Any, calls: int) -> None:
    net = Net(body, layer=nn.Linear(WIDTH, WIDTH)).eval()
    assert calls_of(capture(net, [tokens(2)])).count("linear") == calls


def test_a_mask_made_for_every_batch_is_a_constant_or_goes() -> None:
    def body(m: Any, x: Tensor, past: int) -> Tensor:
        row, column = torch.arange(TOKENS)[:, None], torch.arange(TOKENS)
        mask = (column <= row + past)[None, None].expand(x.shape[0], 1, -1, -1)
        y = x[:, None]
        z: Tensor = F.scaled_dot_product_attention(y, y, y, attn_mask=mask)[:, 0]
        return z

    for past, masks in ((0, 1), (TOKENS, 0)):
        model = Net(lambda m, x, past=past: body(m, x, past)).eval()
        graph = capture(model, [tokens(2)])
        torch.testing.assert_close(graph(tokens(3)), model(tokens(3)), atol=1e-5, rtol=1e-5)
        assert calls_of(graph).count("add") == masks


def test_shared_heads_that_are_repeated_become_rows_of_codes() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        keys = x[:, None, None].expand(-1, 2, 3, -1, -1).reshape(-1, 6, TOKENS, WIDTH)
        y: Tensor = keys @ keys.transpose(2, 3)
        return y

    graph = capture(Net(body).eval(), [tokens(2)])
    assert "expand" not in calls_of(graph) and calls_of(graph).count("index_select") == 2
    assert torch.equal(graph(tokens(3)), Net(body)(tokens(3)))


def test_names_lead_to_the_parameters() -> None:
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    net = Net(lambda m, x: m.a(x, x, x)[0] + m.j(x), a=attention, j=Joint(by_hand)).eval()
    graph = capture(net, [tokens(2)])
    reads = sorted({str(n.target) for n in graph.graph.nodes if n.op == "get_attr"})
    assert reads == sorted([
        "a.in_proj.0.scaled_bias", "a.in_proj.0.scaled_weight",
        *(f"a.in_proj.{i}.{kind}" for i in (1, 2) for kind in ("bias", "weight")),
        "a.out_proj.bias", "a.out_proj.weight", "j.proj.bias", "j.proj.weight",
        "j.qkv.0.scaled_bias", "j.qkv.0.scaled_weight",
        *(f"j.qkv.{i}.{kind}" for i in (1, 2) for kind in ("bias", "weight")),
    ])  # fmt: skip


def test_parts_of_a_frozen_layer_are_frozen() -> None:
    model = Joint(by_hand)
    model.qkv.weight.requires_grad_(False)
    graph = capture(model.eval(), [tokens(2)])
    read = {str(n.target) for n in graph.graph.nodes if n.op == "get_attr"}
    learned = {n for n, p in graph.named_parameters() if p.requires_grad and n in read}
    assert learned == {
        "proj.weight", "proj.bias", "qkv.0.scaled_bias", "qkv.1.bias", "qkv.2.bias"
    }  # fmt: skip


@pytest.mark.parametrize("body", [
    lambda m, x: (lambda y: torch.matmul(y, y) * 0.5)(m.layer(x)[..., :TOKENS]),  # twice in it
    lambda m, x: (F.linear(x, m.layer.weight) * 0.5, F.linear(x, m.layer.weight)),  # tied
    lambda m, x: 3 / m.layer(x),
])  # fmt: skip
def test_other_factors_stay_where_they_are(body: Any) -> None:
    net = Net(body, layer=nn.Linear(WIDTH, WIDTH)).eval()
    graph = capture(net, [tokens(2)])
    torch.testing.assert_close(graph(tokens(3)), net(tokens(3)), atol=TOLERANCE, rtol=TOLERANCE)
    assert {"mul", "div"} & set(calls_of(graph))


@pytest.mark.parametrize(
    ("shares", "calls"),
    [
        (lambda s, m: torch.softmax(s.masked_fill(m == 0, -1e9), -1), "eq to mul add softmax"),
        (lambda s, m: torch.softmax(torch.where(m > 0, s, -1e9), 2), "gt logical_not to mul add"),
        (lambda s, m: torch.softmax(torch.where(m == 0, -1e9, s), 2), "eq to mul add softmax"),
        (
            lambda s, m: torch.softmax(s.masked_fill(LATER, -math.inf), -1) * m[:, :1, :1],
            "add softmax",
        ),
        (
            lambda s, m: torch.softmax(s.masked_fill(~LATER.T, -1e9), -1) * m[:, :1, :1],
            "masked_fill softmax",  # no key counts for the first query: its shares are equal
        ),
        (lambda s, m: torch.softmax(s + m * -1e30, -1), "unsqueeze mul add softmax"),
        (lambda s, m: torch.softmax(s.masked_fill(m == 0, -2.0), -1), "eq masked_fill softmax"),
        (lambda s, m: s.masked_fill(m == 0, -1e9).relu(), "eq masked_fill relu"),  # no shares
    ],
    ids=["filled", "chosen", "chosen first", "constant", "a query without keys", "numbers",
         "not hidden", "no softmax"],
)  # fmt: skip
def test_computed_masks_are_added(shares: Callable[[Tensor, Tensor], Tensor], calls: str) -> None:
    """The first two keys count in each sample, or the first alone."""
    model = Masked(lambda m, x, mask: shares(x @ x.transpose(1, 2), mask[:, None, :])).eval()
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]])
    mask = 1 - mask if "eq" not in calls and "gt" not in calls else mask
    graph = capture(model, [tokens(2), mask[:2]])
    found = graph(tokens(3), mask)
    torch.testing.assert_close(found, model(tokens(3), mask), atol=TOLERANCE, rtol=TOLERANCE)
    assert calls in " ".join(calls_of(graph))


ARE_PICKED = {
    "all columns": (slice(None), "reshape"),
    "some, from behind": ([-1, 0, 0], "index_select reshape"),
}


@pytest.mark.parametrize("columns", ARE_PICKED)
def test_what_samples_pick_of_their_rows_becomes_picks_along_a_row(columns: str) -> None:
    picked, calls = ARE_PICKED[columns]
    chosen = torch.arange(5)[picked].view(1, 1, -1)

    def shares(x: Tensor, mask: Tensor) -> Tensor:
        rows = torch.arange(x.shape[0])[:, None, None]
        counts = mask.to(torch.bool)[rows, chosen] & torch.ones(1, 3, 1, dtype=torch.bool)
        scores = (x @ x.transpose(1, 2))[:, :3, : chosen.numel()]
        return torch.softmax(scores.masked_fill(~counts, -1e9), -1)

    model = Masked(lambda m, x, mask: shares(x, mask)).eval()
    mask = torch.tensor([[1, 1, 0, 0, 1], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]])
    graph = capture(model, [tokens(2), mask[:2]])
    found = graph(tokens(3), mask)
    torch.testing.assert_close(found, model(tokens(3), mask), atol=TOLERANCE, rtol=TOLERANCE)
    made = " ".join(calls_of(graph))
    assert calls in made and "arange" not in made and "logical_and" not in made


def test_rows_of_other_samples_are_no_picks() -> None:
    """The sample before it: no order of its own."""

    def body(m: Masked, x: Tensor, mask: Tensor) -> Tensor:
        rows = (torch.arange(x.shape[0]) - 1)[:, None]
        return x * mask.to(torch.float32)[rows, torch.arange(5)[None]][:, :, None]

    ones = torch.ones(2, 5, dtype=torch.int64)
    assert "index " in " ".join(calls_of(capture(Masked(body).eval(), [tokens(2), ones])))
