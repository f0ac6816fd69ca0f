"""ResNet-20 and its images, as tests and the benchmarks of its calibration use them."""

from __future__ import annotations

from torch import nn

from benchmarks.data import DATA, IMAGENET_STATISTICS
from benchmarks.models.registry import MODELS
from benchmarks.models.samples import cifar
from deployq.data import Dataset

__all__ = ["CHOOSE", "DATA", "REPORT", "cifar10", "cifar10_resnet20"]

CHOOSE = slice(0, 2000)
"""CIFAR-10 test images that may choose settings."""
REPORT = slice(2000, 8000)
"""CIFAR-10 test images that figures are reported on."""


def cifar10_resnet20() -> nn.Module:
    """ResNet-20 with the trained weights of the data folder, in evaluation mode."""
    return MODELS["cifar10_resnet20"].load()


def cifar10(name: str, rows: slice) -> Dataset:
    """Images of ``cifar10/<name>.npz`` normalized to (N, 3, 32, 32) float32, and labels."""
    return cifar(name, rows, IMAGENET_STATISTICS)()
