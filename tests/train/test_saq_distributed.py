"""SAQ over two processes: climbing together is one process, climbing alone has its own formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from deployq.train import SAQ
from deployq.train.between import Between
from deployq.trainer.ranks import Ranks
from tests.train.loops import batch, closure, same, sgd, smooth, state

RANKS, STEPS, RADIUS = 2, 3, 0.3


def train_on_rank(rank: int, folder: str) -> None:
    """Both ways, one after the other: processes are slow to start."""
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS)
    for synchronized in (True, False):
        _train(rank, f"{folder}/{synchronized}", synchronized=synchronized)
    for between in Between:
        _train(rank, f"{folder}/{between}", steps=5, every=3, between=between)
    _train(rank, f"{folder}/overflow", steps=1, overflow=rank == 1)
    ranks = Ranks(torch.device("cpu"), rank, RANKS)
    assert ranks.gathered({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
    distributed.destroy_process_group()


def _train(
    rank: int, path: str, *, steps: int = STEPS, overflow: bool = False, **settings: Any
) -> None:
    prepared = smooth()
    net = DistributedDataParallel(prepared.module)
    saq = SAQ(prepared, sgd(prepared), radius=RADIUS, **settings)
    x, y = (part.chunk(RANKS)[rank] for part in batch())
    for _ in range(steps):
        saq.step(closure(net, x * torch.inf if overflow else x, y), net.no_sync)
    torch.save(prepared.module.state_dict(), f"{path}.{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the tensors of each way."""
    found = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(train_on_rank, (str(found),), nprocs=RANKS)
    return found


def over_ranks(folder: Path, *, synchronized: bool) -> dict[str, Tensor]:
    return of_rank(folder, str(synchronized), 0)


def of_rank(folder: Path, name: str, rank: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(folder / f"{name}.{rank}.pt", weights_only=True)
    return found


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, tensor in wanted.items():
        if not tensor.is_floating_point():
            assert torch.equal(found[name], tensor), name
            continue
        # sums of a batch in two halves: float32 rounding, over three steps
        assert float((found[name] - tensor).norm()) <= 1e-6 * float(tensor.norm()), name


def test_climbing_together_is_one_process_with_the_joined_batch(folder: Path) -> None:
    prepared = smooth()
    saq = SAQ(prepared, sgd(prepared), radius=RADIUS)
    for _ in range(STEPS):
        saq.step(closure(prepared.module, *batch()))
    assert_close(over_ranks(folder, synchronized=True), state(prepared.module))


def test_climbing_alone_is_the_mean_of_the_gradients_at_each_ranks_own_point(folder: Path) -> None:
    prepared = smooth()
    optimizer = sgd(prepared)
    saq = SAQ(prepared, optimizer, radius=RADIUS)
    x, y = (part.chunk(RANKS) for part in batch())
    learned = [p for p in prepared.module.parameters() if p.requires_grad]
    for _ in range(STEPS):
        sums = [torch.zeros_like(p) for p in learned]
        for rank in range(RANKS):
            run = closure(prepared.module, x[rank], y[rank])
            saq.start()
            run()
            assert saq.ascend()
            run()
            saq.restore()
            for total, parameter in zip(sums, learned, strict=True):
                assert parameter.grad is not None
                total += parameter.grad
            optimizer.zero_grad()
        for total, parameter in zip(sums, learned, strict=True):
            parameter.grad = total / RANKS
        optimizer.step()
        optimizer.zero_grad()
    assert_close(over_ranks(folder, synchronized=False), state(prepared.module))


@pytest.mark.parametrize("between", Between)
def test_ranks_stay_together(folder: Path, between: Between) -> None:
    first, second = (of_rank(folder, between, rank) for rank in range(RANKS))
    assert same(first, second) and not same(first, state(smooth().module))


def test_no_rank_steps_where_one_overflows(folder: Path) -> None:
    for rank in range(RANKS):
        assert same(of_rank(folder, "overflow", rank), state(smooth().module))
