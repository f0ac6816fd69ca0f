"""Running statistics of BatchNorms, as they were before a perturbed network ran.

They are kept and put back. Momenta of zero would do as well, but a number that changes between two
passes is one more graph for torch.compile.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from deployq.graph.tensors import read_tensor
from deployq.graph.units import QuantizedLinear

BatchNorm = nn.modules.batchnorm._BatchNorm


class FrozenNorms:
    """Keeps the running statistics of every BatchNorm in a network, and puts them back.

    A step of two passes would otherwise count its batch twice, once at perturbed weights: an
    effective momentum of 0.19 in place of 0.1.

    Args:
        module: of the network; BatchNorms in linear units and on their own.
    """

    def __init__(self, module: nn.Module) -> None:
        tensors = [*_of_modules(module), *_of_units(module)]
        self._tensors = list({id(tensor): tensor for tensor in tensors}.values())
        self._before: list[Tensor] = []

    def freeze(self) -> None:
        """Keep them; once kept, nothing more happens."""
        if not self._before:
            self._before = [tensor.clone() for tensor in self._tensors]

    @torch.no_grad()
    def release(self) -> None:
        """Put them back, where they were kept."""
        for tensor, before in zip(self._tensors, self._before, strict=False):
            tensor.copy_(before)
        self._before = []


def _of_modules(module: nn.Module) -> Iterator[Tensor]:
    """Statistics and counts of batches."""
    for child in module.modules():
        if isinstance(child, BatchNorm):
            yield from child.buffers()


def _of_units(module: nn.Module) -> Iterator[Tensor]:
    """Those that a prepared graph hands its linear units."""
    for node in module.graph.nodes if isinstance(module, fx.GraphModule) else ():
        called = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(called, QuantizedLinear):
            _, _, _, *norm = node.args  # x, weight, bias, then the fields of BatchNormTensors
            yield from (read_tensor(module, tensor) for tensor in norm[2:])
