"""What tuning puts in the place of a linear unit: a learned scale and a learned shift."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from deployq_calibration.corrections.blocks import Call, channel_axis
from deployq_calibration.corrections.scaled_weights import ScaledWeight


class FixedCodes(ScaledWeight):
    """A weight that keeps the codes that it has; only its scale learns."""

    def __init__(self, module: fx.GraphModule, node: fx.Node) -> None:
        super().__init__(module, node, any_scale=True)
        qtype = self.quantizer.qtype
        nearest = torch.round(self.steps()).clamp(qtype.qmin, qtype.qmax)
        self._codes = torch.where(self.learnable(), nearest, torch.zeros_like(nearest))

    def codes(self) -> Tensor:
        return self._codes


class Shifted(nn.Module):
    """A linear layer whose output channels are shifted.

    Args:
        call: computes the layer.
        bias: (C,) what the shift is added to in the end.
        size: of the layer's outputs; the shift is learned in parts of it.
    """

    def __init__(self, call: Call, bias: Tensor, size: float) -> None:
        super().__init__()
        self._call, self._bias, self._size = call, bias, size
        self.shift = nn.Parameter(torch.zeros_like(bias))

    def forward(self, x: Tensor, *tensors: Tensor | None) -> Tensor:
        # detached: the network's own parameters gather no gradients
        y = self._call(x, *(None if tensor is None else tensor.detach() for tensor in tensors))
        axis = channel_axis(y)
        return (y.movedim(axis, -1) + self._size * self.shift).movedim(-1, axis)

    @torch.no_grad()
    def settle(self) -> Callable[[], None]:
        """Move the shift into the bias; returns what puts the bias of before back."""
        before = self._bias.detach().clone()
        self._bias.add_(self._size * self.shift)

        @torch.no_grad()
        def put_back() -> None:
            self._bias.copy_(before)

        return put_back
