"""What tuning puts in the place of a linear unit: a learned scale and a learned shift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from deployq_calibration.corrections.blocks import Call
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
        axis: of its output channels.
        bias: (C,) what the shift is added to in the end.
        size: of the layer's outputs; the shift is learned in parts of it.
    """

    def __init__(self, call: Call, axis: int, bias: Tensor, size: float) -> None:
        super().__init__()
        # lists keep modules and parameters of the network out of this module's own
        self._call, self._bias = [call], [bias]
        self._axis, self._size = axis, size
        self.shift = nn.Parameter(torch.zeros_like(bias))

    def forward(self, *args: Tensor) -> Tensor:
        y = self._call[0](*args).movedim(self._axis, -1)
        return (y + self._size * self.shift).movedim(-1, self._axis)

    @torch.no_grad()
    def settle(self) -> Callable[[], None]:
        """Move the shift into the bias; returns what puts the bias of before back."""
        (bias,) = self._bias
        before = bias.detach().clone()
        bias.add_(self._size * self.shift)

        @torch.no_grad()
        def put_back() -> None:
            bias.copy_(before)

        return put_back


@dataclass(frozen=True)
class TunedLayers:
    """Everything that learns.

    Args:
        scales: of narrow weights, where the target takes any scale.
        shifts: of layers that have a bias of their own; each calls its entry of ``scales``.
    """

    scales: Mapping[fx.Node, FixedCodes]
    shifts: Mapping[fx.Node, Shifted]

    @property
    def calls(self) -> dict[fx.Node, Call]:
        """In the place of linear units."""
        return {**self.scales, **self.shifts}

    @property
    def parameters(self) -> list[nn.Parameter]:
        gains = [layer.gain for layer in self.scales.values()]
        return gains + [layer.shift for layer in self.shifts.values()]

    def settle(self) -> Callable[[], None]:
        """Write what was learned; returns what puts the tensors of before back."""
        layers: list[FixedCodes | Shifted] = [*self.scales.values(), *self.shifts.values()]
        undo = [layer.settle() for layer in layers]

        def put_back() -> None:
            for each in undo:
                each()

        return put_back
