"""Batches over the ranks of ``torch.distributed``; one process has all of them."""

from __future__ import annotations

import torch
from torch import distributed


def _ranks() -> tuple[int, int]:
    """This rank, and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def rank_count() -> int:
    """How many processes share the batches."""
    return _ranks()[1]


def is_local_batch(index: int) -> bool:
    """Whether this rank computes a batch."""
    rank, ranks = _ranks()
    return index % ranks == rank


def gathered(values: list[float]) -> list[float]:
    """Each rank's own entries, and the others' where it has zeros: sums with zero are exact.

    Every rank has to come here for each round of batches, whatever it found.
    """
    if rank_count() == 1:
        return values
    together = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(together)
    return list(together.tolist())
