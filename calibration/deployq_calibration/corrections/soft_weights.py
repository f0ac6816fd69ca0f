"""Soft rounding of one layer's weight: each code lies between floor and ceiling and learns where.

AdaRound (Nagel et al. 2020, arXiv 2004.10568), eq. 22 to 24.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from deployq.graph.batch_norm import BatchNormTensors
from deployq.graph.tensors import read_tensor
from deployq.graph.units import QuantizedLinear

ZETA, GAMMA = 1.1, -0.1
"""Stretch of the rectified sigmoid (below eq. 23)."""

MOST_GAIN = 2.0
"""Largest factor on a scale, either way."""

SMALLEST_FACTOR = 1e-12
"""A folded gamma / sigma nearer to zero leaves nothing to learn."""


class SoftWeight(nn.Module):
    """The learned part of one linear layer.

    ``position`` is V of eq. 22; ``gain`` multiplies the scale (per output channel where the grid
    has such scales).

    Args:
        module: of a prepared model.
        node: call of the linear unit.
        any_scale: the target takes every scale; else the scales stay.
    """

    def __init__(self, module: fx.GraphModule, node: fx.Node, any_scale: bool) -> None:
        super().__init__()
        unit = module.get_submodule(str(node.target))
        assert isinstance(unit, QuantizedLinear)
        # a list keeps modules and parameters of the network out of this module's own
        self._unit = [unit]
        tensors = [None if arg is None else read_tensor(module, arg) for arg in node.args[1:]]
        weight, _, *norm = tensors
        assert weight is not None
        self._weight = [weight]
        self.factor = self._folded_factor(weight, BatchNormTensors.of(*norm))
        steps = weight.detach() * self.factor / self.scale()
        self.floor = torch.floor(steps)
        part = (steps - self.floor - GAMMA) / (ZETA - GAMMA)
        self.position = nn.Parameter(torch.logit(part))
        quantizer = unit.weight_quantizer
        gain = torch.ones_like(quantizer.scale)
        self.gain = nn.Parameter(gain, requires_grad=any_scale)

    def _folded_factor(self, weight: Tensor, norm: BatchNormTensors | None) -> Tensor:
        unit = self._unit[0]
        if norm is None or unit.batch_norm != "fold":
            return torch.ones((), device=weight.device)
        return unit.along_outputs(norm.factor(unit.eps).detach(), weight)

    def _expanded(self, values: Tensor) -> Tensor:
        """A value an output channel (or one for all) as a factor of the weight."""
        return self._unit[0].along_outputs(values, self._weight[0]) if values.ndim else values

    def scale(self) -> Tensor:
        """Of the weight quantizer, broadcastable to the weight."""
        return self._expanded(self._unit[0].weight_quantizer.effective_scale().detach())

    def height(self) -> Tensor:
        """h(V) of eq. 23, 0 to 1, the shape of the weight."""
        return (torch.sigmoid(self.position) * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)

    def forward(self, x: Tensor, weight: Tensor, *rest: Tensor | None) -> Tensor:
        """What the unit computes, with the soft weight."""
        unit = self._unit[0]
        constants = [None if tensor is None else tensor.detach() for tensor in rest]
        return unit.forward_on_grid(x, self._soft_codes() * self._step(), *constants)

    def _step(self) -> Tensor:
        return self.scale() * self._expanded(self.gain.clamp(1 / MOST_GAIN, MOST_GAIN))

    def _soft_codes(self) -> Tensor:
        qtype = self._unit[0].weight_quantizer.qtype
        return (self.floor + self.height()).clamp(qtype.qmin, qtype.qmax)

    def pull(self, beta: float) -> Tensor:
        """The regularizer of eq. 24, which makes h(V) end at 0 or 1."""
        return (1.0 - (2.0 * self.height() - 1.0).abs().pow(beta)).sum()

    @torch.no_grad()
    def codes(self) -> Tensor:
        """The learned integers, as float32: floor or ceiling, within the type."""
        qtype = self._unit[0].weight_quantizer.qtype
        codes = (self.floor + (self.height() >= 0.5)).clamp(qtype.qmin, qtype.qmax)
        return torch.where(self.factor.abs() > SMALLEST_FACTOR, codes, torch.zeros_like(codes))

    def settle(self) -> Callable[[], None]:
        """Write scale and weight so that rounding to the nearest gives the learned integers.

        The weight becomes the centre of its code's cell, ``s * code`` (over gamma / sigma where
        that is folded).

        Returns:
            What puts the tensors of before back.
        """
        quantizer = self._unit[0].weight_quantizer
        written = [quantizer.scale, self._weight[0]]
        before = [tensor.detach().clone() for tensor in written]

        @torch.no_grad()
        def put_back() -> None:
            for tensor, value in zip(written, before, strict=True):
                tensor.copy_(value)

        self._write()
        return put_back

    @torch.no_grad()
    def _write(self) -> None:
        quantizer = self._unit[0].weight_quantizer
        codes, step = self.codes(), self._step()
        quantizer.scale.copy_(step.reshape(quantizer.scale.shape))
        learnable = self.factor.abs() > SMALLEST_FACTOR
        factor = torch.where(learnable, self.factor, torch.ones_like(self.factor))
        self._weight[0].copy_(torch.where(learnable, codes * step / factor, self._weight[0]))
