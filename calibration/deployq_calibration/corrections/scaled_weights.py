"""The weight of one linear layer as codes times a scale that learns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from deployq.graph.batch_norm import BatchNormTensors
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.tensors import read_tensor
from deployq_calibration.corrections.blocks import unit_of

MOST_GAIN = 2.0
"""Largest factor on a scale, either way."""

SMALLEST_FACTOR = 1e-12
"""A folded gamma / sigma nearer to zero leaves nothing to learn."""


class ScaledWeight(nn.Module, ABC):
    """A call in the place of a linear unit; ``gain`` multiplies the scale of its weight.

    Args:
        module: of a prepared model.
        node: call of the linear unit.
        any_scale: the target takes every scale; else the scales stay.
    """

    def __init__(self, module: fx.GraphModule, node: fx.Node, any_scale: bool) -> None:
        super().__init__()
        unit = unit_of(module, node)
        # a list keeps modules and parameters of the network out of this module's own
        self._unit = [unit]
        tensors = [None if arg is None else read_tensor(module, arg) for arg in node.args[1:]]
        weight, _, *norm = tensors
        assert weight is not None
        self._weight = [weight]
        self.factor = self._folded_factor(weight, BatchNormTensors.of(*norm))
        gain = torch.ones_like(self.quantizer.scale)
        self.gain = nn.Parameter(gain, requires_grad=any_scale)

    @property
    def quantizer(self) -> FakeQuantize:
        """Of the weight."""
        return self._unit[0].weight_quantizer

    @abstractmethod
    def codes(self) -> Tensor:
        """The integers that :meth:`settle` writes, as float32, within the type."""

    def running_codes(self) -> Tensor:
        """What the layer computes with while it learns."""
        return self.codes()

    def steps(self) -> Tensor:
        """``w / s``, where the integers are the codes that rounding to the nearest gives."""
        return self._weight[0].detach() * self.factor / self.scale()

    def scale(self) -> Tensor:
        """Of the weight quantizer, broadcastable to the weight."""
        scale = self.quantizer.effective_scale().detach()
        return self.quantizer.expand(scale, self._weight[0])

    def forward(self, x: Tensor, weight: Tensor, *rest: Tensor | None) -> Tensor:
        """What the unit computes, with the learned weight."""
        constants = [None if tensor is None else tensor.detach() for tensor in rest]
        return self._unit[0].forward_on_grid(x, self.running_codes() * self._step(), *constants)

    def settle(self) -> Callable[[], None]:
        """Write scale and weight so that rounding to the nearest gives the learned integers.

        The weight becomes the centre of its code's cell, ``s * code`` (over gamma / sigma where
        that is folded).

        Returns:
            What puts the tensors of before back.
        """
        written = [self.quantizer.scale, self._weight[0]]
        before = [tensor.detach().clone() for tensor in written]

        @torch.no_grad()
        def put_back() -> None:
            for tensor, value in zip(written, before, strict=True):
                tensor.copy_(value)

        self._write()
        return put_back

    @torch.no_grad()
    def _write(self) -> None:
        codes, step = self.codes(), self._step()
        self.quantizer.scale.copy_(self._learned_scale())
        learnable = self.learnable()
        factor = torch.where(learnable, self.factor, torch.ones_like(self.factor))
        self._weight[0].copy_(torch.where(learnable, codes * step / factor, self._weight[0]))

    def learnable(self) -> Tensor:
        """False in the channels that a BatchNorm, folded, turns off."""
        return self.factor.abs() > SMALLEST_FACTOR

    def _step(self) -> Tensor:
        return self.quantizer.expand(self._learned_scale(), self._weight[0])

    def _learned_scale(self) -> Tensor:
        """The scale of before times the gain, in the shape that the quantizer has."""
        gain = self.gain.clamp(1 / MOST_GAIN, MOST_GAIN)
        return self.quantizer.effective_scale().detach() * gain

    def _folded_factor(self, weight: Tensor, norm: BatchNormTensors | None) -> Tensor:
        unit = self._unit[0]
        if norm is None or unit.batch_norm != "fold":
            return torch.ones((), device=weight.device)
        return unit.along_outputs(norm.factor(unit.eps).detach(), weight)
