"""Learned step sizes: which scales of a prepared model receive gradients."""

from __future__ import annotations

from torch import nn

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.preparation import PreparedModel


def learn_scales(
    prepared: PreparedModel, *, activations: bool = True, weights: bool = True
) -> list[nn.Parameter]:
    """Turn learned step size quantization on or off, in place.

    Args:
        prepared: a calibrated model; its scales are the starting point.
        activations, weights: which scales learn.

    Returns:
        The scales that now receive gradients, for a parameter group of their own.
    """
    inputs = set(prepared.quantizers().values())
    learned = []
    for module in prepared.module.modules():
        if not isinstance(module, FakeQuantize):
            continue
        module.learn_scale(activations if module in inputs else weights)
        if module.scale.requires_grad:
            learned.append(module.scale)
    return learned
