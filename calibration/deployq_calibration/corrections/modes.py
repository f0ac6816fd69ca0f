"""The float network inside a prepared one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.preparation import PreparedModel


@contextmanager
def in_float(module: nn.Module) -> Iterator[None]:
    """Every quantizer evaluates in float for the block; each then gets its own mode back."""
    quantizers = [child for child in module.modules() if isinstance(child, FakeQuantize)]
    before = [quantizer.enabled for quantizer in quantizers]
    for quantizer in quantizers:
        quantizer.enabled = False
    try:
        yield
    finally:
        for quantizer, enabled in zip(quantizers, before, strict=True):
            quantizer.enabled = enabled


class FloatNetwork:
    """The float network as it was before corrections wrote integers into its weights.

    Args:
        prepared: a model whose weights are the user's, or equalized.
    """

    def __init__(self, prepared: PreparedModel) -> None:
        self._module = prepared.module
        self._tensors = _copies(prepared.module)

    @contextmanager
    def active(self) -> Iterator[None]:
        """The network computes with these tensors, in float, for the block.

        A tensor that a correction has added since, a bias, is zero.
        """
        own = _copies(self._module)
        before = {name: torch.zeros_like(tensor) for name, tensor in own.items()} | self._tensors
        _write(self._module, before)
        try:
            with in_float(self._module):
                yield
        finally:
            _write(self._module, own)


def _copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


@torch.no_grad()
def _write(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in module.state_dict().items():
        tensor.copy_(tensors[name])
