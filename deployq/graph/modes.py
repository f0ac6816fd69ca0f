"""Training and evaluation mode of a network, and its device, put back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def kept_modes(model: nn.Module) -> Iterator[None]:
    """After the block, which may change them, each submodule gets its own mode back."""
    before = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """``model.eval()`` for the block; each submodule then gets its own mode back."""
    with kept_modes(model):
        model.eval()
        yield


@contextmanager
def on_processor(model: nn.Module) -> Iterator[None]:
    """The tensors of the model, all of one device, are on the processor for the block."""
    tensors = [*model.parameters(), *model.buffers()]
    home = tensors[0].device if tensors else torch.device("cpu")
    model.to("cpu")
    try:
        yield
    finally:
        model.to(home)
