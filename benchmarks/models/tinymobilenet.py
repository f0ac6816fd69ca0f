"""A small inverted-residual network for 32x32 images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Separable(nn.Module):
    """3x3 depthwise and 1x1 convolution of the same width, with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(x + self.conv(x))


class Expanded(nn.Module):
    """1x1 to ``wide``, 3x3 depthwise with stride 2, 1x1 to ``outputs``; no residual."""

    def __init__(self, inputs: int, wide: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, 2, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(self.conv(x))


class TinyMobileNet(nn.Module):
    """(N, 3, 32, 32) to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
        self.mbconv1 = nn.Sequential(Separable(16))
        self.mbconv2 = nn.Sequential(Expanded(16, 32, 24))
        self.mbconv3 = nn.Sequential(Expanded(24, 48, 32))
        self.mbconv4 = nn.Sequential(Expanded(32, 64, 64))
        self.conv_head = nn.Sequential(nn.Conv2d(64, 128, 1, bias=False), nn.BatchNorm2d(128))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.stem(x))
        x = self.mbconv4(self.mbconv3(self.mbconv2(self.mbconv1(x))))
        x = functional.relu6(self.conv_head(x))
        scores: Tensor = self.classifier(x.mean((2, 3)))
        return scores
