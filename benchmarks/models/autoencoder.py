"""The autoencoder of MLPerf Tiny's anomaly detection (Banbury et al. 2021, arXiv 2106.07597)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)


class AutoEncoder(nn.Module):
    """Five log-mel frames (N, 640) to their reconstruction (N, 640)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.ModuleList(nn.Linear(*step) for step in pairwise(WIDTHS))
        self.bn = nn.ModuleList(nn.BatchNorm1d(width, 1e-3) for width in WIDTHS[1:])
        self.out = nn.Linear(WIDTHS[-1], WIDTHS[0])

    def forward(self, x: Tensor) -> Tensor:
        for fc, bn in zip(self.fc, self.bn, strict=True):
            x = functional.relu(bn(fc(x)))
        reconstruction: Tensor = self.out(x)
        return reconstruction
