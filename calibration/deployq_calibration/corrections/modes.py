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


@contextmanager
def without_gradients(module: nn.Module) -> Iterator[None]:
    """No parameter of the network gathers a gradient in the block."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


class FloatNetwork:
    """The float network as it was before corrections wrote integers into its weights.

    Args:
        prepared: a model whose weights are the user's, or equalized.
    """

    def __init__(self, prepared: PreparedModel) -> None:
        self._module = prepared.module
        state = prepared.module.state_dict()
        self._tensors = {name: tensor.detach().clone() for name, tensor in state.items()}

    @contextmanager
    def active(self) -> Iterator[None]:
        """The network computes with these tensors, in float, for the block.

        A tensor that a correction has added since, a bias, is zero.
        """
        written = {
            name: tensor.detach().clone()
            for name, tensor in self._module.state_dict().items()
            if name not in self._tensors or not torch.equal(tensor, self._tensors[name])
        }
        _write(self._module, {name: self._before(name, now) for name, now in written.items()})
        try:
            with in_float(self._module):
                yield
        finally:
            _write(self._module, written)

    def _before(self, name: str, now: Tensor) -> Tensor:
        return self._tensors[name] if name in self._tensors else torch.zeros_like(now)


@torch.no_grad()
def _write(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    state = module.state_dict()
    for name, tensor in tensors.items():
        state[name].copy_(tensor)
