"""Running statistics of BatchNorms, held still while a perturbed network runs."""

from __future__ import annotations

from torch import Tensor, nn

from deployq.graph.units import QuantizedLinear

BatchNorm = nn.modules.batchnorm._BatchNorm


class FrozenNorms:
    """Stops the running statistics of every BatchNorm in a network, and lets them run again.

    A step of two passes would otherwise count its batch twice, once at perturbed weights: an
    effective momentum of 0.19 in place of 0.1.

    Args:
        module: of the network; BatchNorms in linear units and on their own.
    """

    def __init__(self, module: nn.Module) -> None:
        self._modules = [m for m in module.modules() if isinstance(m, (BatchNorm, QuantizedLinear))]
        self._momenta: list[float | None] | None = None
        self._counts: list[Tensor | None] = []

    def freeze(self) -> None:
        """Set momenta to zero; once frozen, nothing more happens."""
        if self._momenta is None:
            self._momenta = [module.momentum for module in self._modules]
            self._counts = [_count(module) for module in self._modules]
            for module in self._modules:
                module.momentum = 0.0

    def release(self) -> None:
        """Give momenta and counts of batches back as they were."""
        if self._momenta is None:
            return
        for module, momentum, count in zip(self._modules, self._momenta, self._counts, strict=True):
            module.momentum = momentum
            if count is not None and isinstance(module, BatchNorm):
                assert module.num_batches_tracked is not None
                module.num_batches_tracked.copy_(count)
        self._momenta = None


def _count(module: nn.Module) -> Tensor | None:
    """Batches that a BatchNorm has counted; each forward counts, whatever the momentum."""
    if isinstance(module, BatchNorm) and module.num_batches_tracked is not None:
        return module.num_batches_tracked.clone()
    return None
