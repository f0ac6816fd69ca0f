"""The RFB face detector for 320x240 pictures, as the graph of its ONNX file has it.

The context block is a receptive field block (Liu et al. 2018, arXiv 1711.07767) with dilated
convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SEPARABLE = (
    (16, 32, 1), (32, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1),
)  # fmt: skip
DEEPER = ((64, 128, 2), (128, 128, 1), (128, 128, 1), (128, 256, 2), (256, 256, 1))
"""Inputs, outputs, stride of the separable convolutions before and behind the context block."""
HEADS = ((64, 3), (128, 2), (256, 2))
"""Width and boxes a position of the separable heads; the fourth is a plain convolution."""


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _head(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs)
    return nn.Sequential(depthwise, nn.ReLU(), nn.Conv2d(inputs, outputs, 1))


class Normalized(nn.Module):
    """Convolution and BatchNorm, and a ReLU where ``relu``."""

    def __init__(
        self, inputs: int, outputs: int, size: int, dilation: int = 1, *, relu: bool = False
    ) -> None:
        super().__init__()
        padding = dilation * (size // 2)
        self.conv = nn.Conv2d(inputs, outputs, size, padding=padding, dilation=dilation, bias=False)
        self.bn, self.relu = nn.BatchNorm2d(outputs), relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return functional.relu(x) if self.relu else x


class Context(nn.Module):
    """Three branches of dilation 2, 3 and 5, joined and added to a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = self._branch(2)
        self.branch1 = self._branch(3)
        self.branch2 = nn.Sequential(
            Normalized(64, 8, 1),
            Normalized(8, 12, 3, relu=True),
            Normalized(12, 16, 3, relu=True),
            Normalized(16, 16, 3, 5),
        )
        self.ConvLinear = Normalized(48, 64, 1)
        self.shortcut = Normalized(64, 64, 1)

    @staticmethod
    def _branch(dilation: int) -> nn.Sequential:
        return nn.Sequential(
            Normalized(64, 8, 1), Normalized(8, 16, 3, relu=True), Normalized(16, 16, 3, dilation)
        )

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.branch0(x), self.branch1(x), self.branch2(x)], 1)
        return functional.relu(self.ConvLinear(joined) + self.shortcut(x))


class UltraFace(nn.Module):
    """(N, 3, 240, 320) to scores (N, 4420, 2), after softmax, and boxes (N, 4420, 4)."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        before, behind = ([_separable(*s) for s in steps] for steps in (SEPARABLE, DEEPER))
        self.base_net = nn.Sequential(stem, *before, Context(), *behind)
        further = _head(64, 256, 2)
        self.extras = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(256, 64, 1), nn.ReLU(), further, nn.ReLU())]
        )
        self.classification_headers = self._heads(2)
        self.regression_headers = self._heads(4)

    @staticmethod
    def _heads(values: int) -> nn.ModuleList:
        heads = [_head(width, boxes * values) for width, boxes in HEADS]
        return nn.ModuleList([*heads, nn.Conv2d(256, 3 * values, 3, padding=1)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, boxes = [], []
        ends = (self.base_net[:8], self.base_net[8:11], self.base_net[11:], self.extras[0])
        heads = zip(ends, self.classification_headers, self.regression_headers, strict=True)
        for layers, classify, regress in heads:
            x = layers(x)
            scores.append(_by_position(classify(x), 2))
            boxes.append(_by_position(regress(x), 4))
        return torch.cat(scores, 1).softmax(2), torch.cat(boxes, 1)


def _by_position(x: Tensor, values: int) -> Tensor:
    """(N, boxes * values, H, W) to (N, H * W * boxes, values)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)
