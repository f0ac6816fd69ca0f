"""Means over the ranks of ``torch.distributed``."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, distributed


def mean_over_ranks(tensors: Iterable[Tensor]) -> None:
    """Average tensors over all ranks, in place; nothing happens in a single process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    ranks = distributed.get_world_size()
    for tensor in tensors:
        distributed.all_reduce(tensor)
        tensor.div_(ranks)
