"""Processes that train together over ``torch.distributed``, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

# Its functions keep the process group of the moment of their import as a default for good.
# torch.export imports it: inside joined_ranks that group would outlive destroy_process_group,
# and its threads end the interpreter with an abort now and then. Seen in torch 2.13.
import torch.distributed.nn.functional
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from deployq.errors import InputError


@dataclass(frozen=True)
class Ranks:
    """This process among its peers.

    Args:
        device: that it trains on.
        rank: its number, from 0.
        count: of all processes.
    """

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def total(self, values: list[float]) -> list[float]:
        """The sums of each value over all processes, in float64."""
        if self.count == 1:
            return values
        summed = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(summed)
        return [float(value) for value in summed]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.total([float(flag)])[0] > 0

    def gathered(self, value: Any) -> list[Any]:
        """The plain nested state of every process, in the order of their ranks."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, value)
        return found

    def shared(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over all processes in each backward pass."""
        return module if self.count == 1 else DistributedDataParallel(module)

    def same_buffers(self, module: nn.Module) -> None:
        """Give every process the running statistics of the first."""
        for buffer in module.buffers() if self.count > 1 else ():
            distributed.broadcast(buffer, 0)


def apart(module: nn.Module) -> AbstractContextManager[None]:
    """Backward passes in the block keep the gradients of this process to itself."""
    if isinstance(module, DistributedDataParallel):
        held: AbstractContextManager[None] = module.no_sync()
        return held
    return nullcontext()


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, or this one alone.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        InputError: ``cuda`` where there is none.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = _device(device)
    if count == 1:
        yield Ranks(chosen)
        return
    distributed.init_process_group("gloo" if chosen.type == "cpu" else "nccl")
    try:
        yield Ranks(chosen, rank, count)
    finally:
        distributed.destroy_process_group()


def _device(wish: str) -> torch.device:
    if wish == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device",
            "a recipe that asks for cuda trains on a GPU",
            found="no GPU that torch can use",
            allowed="auto, cpu",
            next_step='state device = "auto"',
        )
    if wish == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
