"""The running mean of a BatchNorm that is folded into the weight before that is quantized.

The layer computes ``y = conv(x, Q) + (b - mu) f + beta`` with ``f = gamma / sigma`` in the weight
that became ``Q``. Before the BatchNorm stands ``conv(x, Q) / f + b``, whose mean over a batch is
``mu + (mean(y) - beta) / f``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from deployq.graph.integers import LinearCall

SMALLEST_FACTOR = 1e-12
"""A gamma / sigma nearer to zero leaves nothing of the layer, and its mean is kept."""


class FoldedMean:
    """Measures the mean over batches, and centres each batch as a BatchNorm in training would.

    Without the centring, layers behind would measure the shift that this one is about to lose.

    Args:
        call: of a layer with a folded BatchNorm.
    """

    def __init__(self, call: LinearCall) -> None:
        assert call.norm is not None
        self.share = 1.0
        """Of the next batch in the mean of all so far."""
        self._call, self._norm = call, call.norm
        self._factor = call.norm.factor(call.unit.eps).detach().double()
        self._mean = torch.zeros_like(self._factor)
        self._handle: RemovableHandle | None = None

    def watch(self) -> None:
        """Look at the output of each call; the unit itself runs in evaluation mode."""
        self._call.unit.eval()
        self._handle = self._call.unit.register_forward_hook(self._centred)

    def unwatch(self) -> None:
        """Look no more."""
        if self._handle is not None:
            self._handle.remove()

    def write(self) -> None:
        """Make the measured mean the running mean."""
        self._norm.mean.copy_(self._mean)

    def _centred(self, unit: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        axis = output.ndim - 1 if self._call.unit.op_type == "Gemm" else 1
        others = [a for a in range(output.ndim) if a != axis]
        shift = output.double().mean(others)
        if self._norm.beta is not None:
            shift = shift - self._norm.beta.detach().double()
        turned_off = self._factor.abs() <= SMALLEST_FACTOR
        moved = torch.where(turned_off, 0.0, shift / self._factor)
        self._mean += self.share * (self._norm.mean.double() + moved - self._mean)
        shape = [1] * output.ndim
        shape[axis] = -1
        return output - shift.to(output.dtype).reshape(shape)
