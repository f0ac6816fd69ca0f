"""Learned step sizes: which scales of a prepared model receive gradients."""

from __future__ import annotations

from torch import nn

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.preparation import PreparedModel


def learn_scales(
    prepared: PreparedModel, *, activations: bool = True, weights: bool = True
) -> list[nn.Parameter]:
    """Turn learned step size quantization on or off, in place.

    Where the target's scales are powers of two, their exponents learn (log2 of the scale), and
    each scale is a power of two at every step.

    Args:
        prepared: a calibrated model; its scales are the starting point.
        activations, weights: which scales learn.

    Returns:
        The parameters that receive gradients, for a group of their own: scales, or exponents.
    """
    inputs = set(prepared.quantizers().values())
    learned = []
    for module in prepared.module.modules():
        if not isinstance(module, FakeQuantize):
            continue
        module.learn_scale(activations if module in inputs else weights)
        if module.step.requires_grad:
            learned.append(module.step)
    return learned
