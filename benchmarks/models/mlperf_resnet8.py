"""The ResNet of MLPerf Tiny's image classification (Banbury et al. 2021, arXiv 2106.07597)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-3


class ResNet8(nn.Module):
    """Three stacks of two 3x3 convolutions, (N, 3, 32, 32) of 0..255 to (N, 10).

    Every convolution has a bias before its BatchNorm. Stacks 2 and 3 halve the picture; their first
    convolution pads one row below and one column to the right, and their shortcut is a 1x1
    convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1), nn.BatchNorm2d(16, EPS)
        self.s1_conv1, self.s1_bn1 = nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16, EPS)
        self.s1_conv2, self.s1_bn2 = nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16, EPS)
        self.s2_conv1, self.s2_bn1 = nn.Conv2d(16, 32, 3, 2), nn.BatchNorm2d(32, EPS)
        self.s2_conv2, self.s2_bn2 = nn.Conv2d(32, 32, 3, 1, 1), nn.BatchNorm2d(32, EPS)
        self.s2_short = nn.Conv2d(16, 32, 1, 2)
        self.s3_conv1, self.s3_bn1 = nn.Conv2d(32, 64, 3, 2), nn.BatchNorm2d(64, EPS)
        self.s3_conv2, self.s3_bn2 = nn.Conv2d(64, 64, 3, 1, 1), nn.BatchNorm2d(64, EPS)
        self.s3_short = nn.Conv2d(32, 64, 1, 2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.s1_bn1(self.s1_conv1(x)))
        x = functional.relu(self.s1_bn2(self.s1_conv2(y)) + x)
        y = functional.relu(self.s2_bn1(self.s2_conv1(functional.pad(x, (0, 1, 0, 1)))))
        x = functional.relu(self.s2_bn2(self.s2_conv2(y)) + self.s2_short(x))
        y = functional.relu(self.s3_bn1(self.s3_conv1(functional.pad(x, (0, 1, 0, 1)))))
        x = functional.relu(self.s3_bn2(self.s3_conv2(y)) + self.s3_short(x))
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores
