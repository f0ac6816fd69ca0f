"""Which CIFAR-10 images train, choose and report."""

from __future__ import annotations

from benchmarks.data import IMAGENET_STATISTICS
from benchmarks.models.registry import TRAIN
from benchmarks.models.samples import cifar
from benchmarks.trained.images import Images
from benchmarks.trained.networks import SPEC


def training(count: int) -> Images:
    """The first training images."""
    return Images.of(cifar(TRAIN, slice(0, count), IMAGENET_STATISTICS)())


def choosing() -> Images:
    """Test images 0 to 1999."""
    return Images.of(SPEC.choosing())


def reporting() -> Images:
    """Test images 2000 to 7999."""
    return Images.of(SPEC.reporting())
