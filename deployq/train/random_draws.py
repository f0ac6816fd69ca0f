"""The same random draws in both passes of a step: Dropout drops the same values."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RandomDraws:
    """Keeps the generators' states before a pass and puts them back before its repetition.

    Args:
        module: whose device counts.
    """

    def __init__(self, module: nn.Module) -> None:
        devices = {parameter.device for parameter in module.parameters()}
        self._devices = [device for device in devices if device.type == "cuda"]
        self._cpu: Tensor | None = None
        self._cuda: list[Tensor] = []

    def keep(self) -> None:
        """Before the first pass."""
        self._cpu = torch.get_rng_state()
        self._cuda = [torch.cuda.get_rng_state(device) for device in self._devices]

    def repeat(self) -> None:
        """Before the second pass, which leaves the generators where the first had left them."""
        assert self._cpu is not None
        torch.set_rng_state(self._cpu)
        for device, state in zip(self._devices, self._cuda, strict=True):
            torch.cuda.set_rng_state(state, device)
