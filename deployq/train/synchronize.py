"""What the ranks of ``torch.distributed`` decide together; nothing is sent in a single process."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed


def mean_over_ranks(tensors: Iterable[Tensor]) -> None:
    """Average tensors over all ranks, in place."""
    if not _several():
        return
    ranks = distributed.get_world_size()
    for tensor in tensors:
        distributed.all_reduce(tensor)
        tensor.div_(ranks)


def in_all_ranks(flag: bool, device: torch.device) -> bool:
    """Whether every rank says so; a rank that went on alone would wait for the others forever."""
    if not _several():
        return flag
    votes = torch.tensor(float(flag), device=device)
    distributed.all_reduce(votes, distributed.ReduceOp.MIN)
    return bool(votes)


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
