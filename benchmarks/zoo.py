"""Networks for tests and benchmarks, with float weights from the data folder.

The folder is named by the environment variable ``DEPLOYQ_DATA`` and defaults to ``../shared/data``;
nothing of it belongs to this project.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from deployq.data import Dataset

DATA = Path(os.environ.get("DEPLOYQ_DATA", "../shared/data"))
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
CHOOSE = slice(0, 2000)
"""CIFAR-10 test images that may choose settings."""
REPORT = slice(2000, 8000)
"""CIFAR-10 test images that figures are reported on."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and an option-A shortcut: strided slice and zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return functional.relu(y + x)


class CifarResNet(nn.Module):
    """ResNet for 32x32 images (He et al. 2015, arXiv 1512.03385, section 4.2), (N, 3, 32, 32)."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(inputs, outputs, stride)
        return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        y: Tensor = self.linear(x.mean((2, 3)))
        return y


def cifar10_resnet20() -> CifarResNet:
    """ResNet-20 with the trained weights of the data folder, in evaluation mode."""
    model = CifarResNet(3)
    weights = torch.load(DATA / "models/cifar10_resnet20.pt", weights_only=True)
    model.load_state_dict(weights, strict=False)
    return model.eval()


def cifar10(name: str, rows: slice) -> Dataset:
    """Images of ``cifar10/<name>.npz`` normalized to (N, 3, 32, 32) float32, and labels."""
    arrays = np.load(DATA / f"cifar10/{name}.npz", allow_pickle=False)
    return Dataset({"x": normalized(arrays["x"][rows])}, arrays["y"][rows].astype(np.int64))


def normalized(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(N, H, W, 3) bytes to (N, 3, H, W) float32 with ImageNet's mean and deviation."""
    real = (images.astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    return np.ascontiguousarray(real.transpose(0, 3, 1, 2))
