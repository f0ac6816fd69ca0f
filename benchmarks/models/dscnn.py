"""The DS-CNN of MLPerf Tiny's keyword spotting (Zhang et al. 2017, arXiv 1711.07128)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-3


class DsCnn(nn.Module):
    """MFCC (N, 1, 49, 10) to 12 keywords. The pooling window of 24x5 leaves the last row out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 64, (10, 4), 2), nn.BatchNorm2d(64, EPS)
        self.dw = nn.ModuleList(nn.Conv2d(64, 64, 3, 1, 1, groups=64) for _ in range(4))
        self.dw_bn = nn.ModuleList(nn.BatchNorm2d(64, EPS) for _ in range(4))
        self.pw = nn.ModuleList(nn.Conv2d(64, 64, 1) for _ in range(4))
        self.pw_bn = nn.ModuleList(nn.BatchNorm2d(64, EPS) for _ in range(4))
        self.fc = nn.Linear(64, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (1, 1, 4, 5))
        x = functional.relu(self.bn1(self.conv1(x)))
        for dw, dw_bn, pw, pw_bn in zip(self.dw, self.dw_bn, self.pw, self.pw_bn, strict=True):
            x = functional.relu(dw_bn(dw(x)))
            x = functional.relu(pw_bn(pw(x)))
        x = functional.avg_pool2d(x, (24, 5))
        scores: Tensor = self.fc(x.flatten(1))
        return scores
