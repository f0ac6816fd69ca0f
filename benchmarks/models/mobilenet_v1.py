"""MobileNet v1 (Howard et al. 2017, arXiv 1704.04861) at a quarter of its width."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-3
WIDTHS = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


class SeparableBlock(nn.Module):
    """3x3 depthwise, then 1x1; stride 2 pads below and to the right only."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        padding = 1 if stride == 1 else 0
        self.dw = nn.Conv2d(inputs, inputs, 3, stride, padding, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs, EPS)
        self.pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, EPS)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride != 1:
            x = functional.pad(x, (0, 1, 0, 1))
        x = functional.relu6(self.bn1(self.dw(x)))
        return functional.relu6(self.bn2(self.pw(x)))


class MobileNetV1(nn.Module):
    """(N, 3, 224, 224) to (N, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0], EPS)
        steps = zip(WIDTHS, WIDTHS[1:], STRIDES, strict=False)
        self.blocks = nn.Sequential(*(SeparableBlock(*step) for step in steps))
        self.fc = nn.Linear(WIDTHS[-1], 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.bn1(self.conv1(functional.pad(x, (0, 1, 0, 1)))))
        scores: Tensor = self.fc(self.blocks(x).mean((2, 3)))
        return scores
