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
        like: the same layer of a model whose output means are wanted; None wants beta, which is
            what a BatchNorm in training gives.
    """

    def __init__(self, call: LinearCall, like: LinearCall | None = None) -> None:
        assert call.norm is not None
        self.share = 1.0
        """Of the next batch in the mean of all so far."""
        self._call, self._norm, self._like = call, call.norm, like
        self._factor = call.norm.factor(call.unit.eps).detach().double()
        self._mean = torch.zeros_like(self._factor)
        beta = call.norm.beta
        self._wanted = torch.zeros_like(self._factor) if beta is None else beta.detach().double()
        self._handles: list[RemovableHandle] = []

    def watch(self) -> None:
        """Look at the output of each call; the unit itself runs in evaluation mode."""
        self._call.unit.eval()
        self._handles.append(self._call.unit.register_forward_hook(self._centred))
        if self._like is not None:
            self._handles.append(self._like.unit.register_forward_hook(self._remember))

    def unwatch(self) -> None:
        """Look no more."""
        for handle in self._handles:
            handle.remove()

    def write(self) -> None:
        """Make the measured mean the running mean."""
        self._norm.mean.copy_(self._mean)

    def _remember(self, unit: nn.Module, inputs: Any, output: Tensor) -> None:
        self._wanted = output.double().mean(self._all_but_channels(output))

    def _centred(self, unit: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        others = self._all_but_channels(output)
        shift = output.double().mean(others) - self._wanted
        turned_off = self._factor.abs() <= SMALLEST_FACTOR
        moved = torch.where(turned_off, 0.0, shift / self._factor)
        self._mean += self.share * (self._norm.mean.double() + moved - self._mean)
        shape = [1 if axis in others else -1 for axis in range(output.ndim)]
        return output - shift.to(output.dtype).reshape(shape)

    def _all_but_channels(self, output: Tensor) -> list[int]:
        channels = output.ndim - 1 if self._call.unit.op_type == "Gemm" else 1
        return [axis for axis in range(output.ndim) if axis != channels]
