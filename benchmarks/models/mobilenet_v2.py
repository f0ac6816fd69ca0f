"""MobileNet v2 (Sandler et al. 2018, arXiv 1801.04381), BatchNorm folded into the convolutions."""

from __future__ import annotations

from torch import Tensor, nn

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, width, blocks, stride of the first one (table 2 of the paper)."""


def _bounded(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups)
    return nn.Sequential(convolution, nn.ReLU6())


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1; a residual where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers = [_bounded(inputs, wide, 1)] if expansion != 1 else []
        layers += [_bounded(wide, wide, 3, stride, wide), nn.Conv2d(wide, outputs, 1)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """(N, 3, 224, 224) to (N, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        layers, width = [_bounded(3, 32, 3, 2)], 32
        for expansion, outputs, blocks, stride in STAGES:
            for number in range(blocks):
                step = stride if number == 0 else 1
                layers.append(InvertedResidual(width, outputs, step, expansion))
                width = outputs
        self.features = nn.Sequential(*layers, _bounded(width, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return scores
