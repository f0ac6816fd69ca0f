"""Build a network of timm that has seen one batch of real images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks import torchvision_shapes
from benchmarks.data import IMAGENET_STATISTICS, Floats, imagenet_images


def images(name: str, size: int) -> Floats:
    """All images of an ImageNet archive, (N, 3, size, size), normalized."""
    return IMAGENET_STATISTICS(imagenet_images(name, (size, size))[0])


def network(name: str, batch: Floats) -> nn.Module:
    """Random weights (seed 0), BatchNorm statistics of ``batch``, in evaluation mode.

    A factor that timm starts at 0 (gamma of a BatchNorm, gain of a convolution, of a branch), so
    that a branch does nothing before training, becomes 1: zeros would show nothing of how it is
    computed.

    Args:
        name: timm's name.
        batch: (N, 3, H, W).
    """
    timm = _timm()
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, pretrained=False, drop_rate=0.0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    for name, parameter in model.named_parameters():
        if not parameter.any() and not name.endswith(("bias", "beta")):
            nn.init.ones_(parameter)
    model.train()
    with torch.no_grad():
        model(torch.from_numpy(batch))
    return model.eval()


def _timm() -> Any:
    """timm, whose networks here need no compiled operator of torchvision."""
    with torchvision_shapes.skipped():
        import timm
    return timm
