"""What the inputs do not change is computed once; what they change, or what is random, is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deployq.errors import UnsupportedError
from deployq.graph.capture import capture
from tests.graph.networks import Net, calls_of

TOKENS, WIDTH = 4, 6


def captured(body: Any, **children: Any) -> tuple[list[str], dict[str, Tensor]]:
    """Calls and tensors of the graph, after a check of its values at other batches."""
    torch.manual_seed(0)
    model = Net(body, **children).eval()
    graph = capture(model, [torch.randn(2, TOKENS, WIDTH)])
    for batch in (1, 2, 5):
        x = torch.randn(batch, TOKENS, WIDTH)
        assert torch.equal(graph(x), model(x))
    return calls_of(graph), dict(graph.named_parameters()) | dict(graph.named_buffers())


def test_positions_of_a_batch_are_one_constant_and_train() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        ids = torch.arange(x.shape[1]).unsqueeze(0).expand(x.shape[0], -1)
        y: Tensor = x + m.table(ids)
        return y

    calls, tensors = captured(body, table=nn.Embedding(TOKENS, WIDTH))
    assert calls == ["add"]
    folded = tensors["table.folded_embedding"]
    assert isinstance(folded, nn.Parameter) and folded.shape == (1, TOKENS, WIDTH)


def test_a_mask_that_is_written_in_place_is_one_constant() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        mask = torch.zeros(1, TOKENS, WIDTH)
        mask[:, :2] = 1.0
        mask += 0.5
        return x * mask

    calls, tensors = captured(body)
    assert calls == ["mul"]
    (mask,) = (value for name, value in tensors.items() if name.startswith("folded"))
    assert mask[0, :, 0].tolist() == [1.5, 1.5, 0.5, 0.5]


def test_what_the_inputs_write_to_stays_a_value_of_its_own() -> None:
    calls, _ = captured(lambda m, x: torch.zeros(TOKENS, WIDTH).add(1.0).mul_(2.0) + x)
    assert calls == ["add"]

    def body(m: Any, x: Tensor) -> Tensor:
        total = torch.ones(2, TOKENS, WIDTH) * 3
        total += x[:1]
        return total + x[:1]

    model = Net(body).eval()
    graph = capture(model, [torch.randn(2, TOKENS, WIDTH)])
    x = torch.randn(3, TOKENS, WIDTH)
    assert torch.equal(graph(x), model(x)) and torch.equal(graph(x), model(x))


def test_windows_that_lie_among_the_samples_have_one_mask() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        windows = (x * x).reshape(-1, 2, WIDTH)
        mask = torch.arange(2 * 2 * WIDTH).cos().reshape(2, 2, WIDTH)
        mask = mask.unsqueeze(0).expand(x.shape[0], -1, -1, -1).reshape(-1, 2, WIDTH)
        y: Tensor = windows + mask
        return y

    calls, tensors = captured(body)
    assert calls == ["mul", "reshape", "add", "reshape"]
    (mask,) = (value for name, value in tensors.items() if name.startswith("folded"))
    assert mask.shape == (1, 2, 2, WIDTH)


def test_windows_that_differ_from_sample_to_sample_are_not_folded() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[0] * 2).float()[:, None, None]
        return x.reshape(-1, 2, WIDTH) + rows

    calls, _ = captured(body)
    assert "arange" in calls


def test_one_sample_beside_windows_of_many_is_broadcast() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        mask = m.mask.expand(x.shape[0], -1, -1, -1).reshape(-1, 2, WIDTH)
        first: Tensor = m.first * x.mean()
        y: Tensor = first + mask + x.reshape(-1, 2, WIDTH)
        return y

    mask, first = torch.randn(1, 2, 2, WIDTH), torch.randn(1, 2, WIDTH)
    captured(body, mask=nn.Parameter(mask), first=nn.Parameter(first))


def test_rows_that_only_large_batches_have_are_not_folded() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        return torch.cat([x, torch.ones(x.shape[0] // 4, TOKENS, WIDTH)])

    calls, _ = captured(body)
    assert calls[-2:] == ["ones", "cat"]


def test_samples_that_differ_are_not_folded() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        return x + torch.arange(x.shape[0]).float()[:, None, None]

    calls, _ = captured(body)
    assert "arange" in calls


def test_random_numbers_are_drawn_anew() -> None:
    model = Net(lambda m, x: x + torch.rand(TOKENS, WIDTH)).eval()
    graph = capture(model, [torch.randn(2, TOKENS, WIDTH)])
    assert "rand" in calls_of(graph)


def test_a_state_that_is_written_is_refused_by_name() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        m.count.add_(1)
        return x * m.count

    model = Net(body).eval()
    model.register_buffer("count", torch.zeros(()))
    with pytest.raises(UnsupportedError, match=r"count, a tensor of the model"):
        capture(model, [torch.randn(2, TOKENS, WIDTH)])


@pytest.mark.parametrize(("last", "folds"), [(0, True), (1, False)])
def test_a_lookup_in_a_table_of_one_number_is_a_constant(last: int, folds: bool) -> None:
    """RoBERTa's segments, at positions that are counted from the words."""

    def body(m: Any, words: Tensor) -> Tensor:
        places = torch.cumsum(words.ne(1).to(torch.int32), 1).to(torch.int64)
        segments = torch.gather(m.ids.expand(words.shape[0], -1), 1, places)
        y: Tensor = m.words(words) + m.segments(segments) + m.places(places)
        return y

    tables = {name: nn.Embedding(9, WIDTH) for name in ("words", "segments", "places")}
    model = Net(body, **tables).eval()
    model.register_buffer("ids", torch.tensor([[0] * 8 + [last]]))
    graph = capture(model, [torch.randint(9, (2, TOKENS))])
    words = torch.randint(9, (5, TOKENS))
    assert torch.equal(graph(words), model(words))
    calls = calls_of(graph)
    assert ("gather" not in calls) is folds and "cumsum" in calls
    assert calls.count("embedding") == (2 if folds else 3)


def test_a_lookup_over_another_free_size_is_kept() -> None:
    """The example has two of both; five rows of places are no rows of the table."""

    def body(m: Any, places: Tensor) -> Tensor:
        y: Tensor = m.scale(torch.gather(m.ids.expand(2, -1), 0, places).float())
        return y

    model = Net(body, scale=nn.Linear(4, WIDTH)).eval()
    model.register_buffer("ids", torch.zeros(1, 4, dtype=torch.int64))
    graph = capture(model, [torch.zeros(2, 4, dtype=torch.int64)])
    for count in (1, 2, 5):
        places = torch.zeros(count, 4, dtype=torch.int64)
        assert torch.equal(graph(places), model(places))
