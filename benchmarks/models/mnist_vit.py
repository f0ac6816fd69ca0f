"""A vision transformer of 28x28 digits: 7x7 patches, eight heads, scores of a small classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

WIDTH, HEADS, DEPTH, PATCH = 64, 8, 6, 7
SCALE = WIDTH**-0.5
"""Of the width, not of a head's: the weights were trained so."""


def _only(**children: nn.Module) -> nn.ModuleDict:
    """Modules under the names of the weight file."""
    return nn.ModuleDict(children)


class Attention(nn.Module):
    """(N, T, WIDTH) to the same, its products written out."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        samples, tokens, width = x.shape
        split = self.to_qkv(x).reshape(samples, tokens, 3, HEADS, width // HEADS)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        shares = (q @ k.transpose(-2, -1) * SCALE).softmax(-1)
        y: Tensor = self.to_out((shares @ v).transpose(1, 2).reshape(samples, tokens, width))
        return y


class Mlp(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WIDTH, 128), nn.GELU(), nn.Linear(128, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


class Normed(nn.Module):
    """A LayerNorm, then another module."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(WIDTH), fn

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fn(self.norm(x))
        return y


class MnistViT(nn.Module):
    """(N, 1, 28, 28) to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_to_embedding = nn.Linear(PATCH * PATCH, WIDTH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embedding = nn.Parameter(torch.zeros(1, 17, WIDTH))
        pairs = ([_only(fn=Normed(kind())) for kind in (Attention, Mlp)] for _ in range(DEPTH))
        self.transformer = _only(layers=nn.ModuleList(nn.ModuleList(pair) for pair in pairs))
        self.mlp_head = nn.Sequential(nn.Linear(WIDTH, 128), nn.GELU(), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        side = 28 // PATCH
        x = x.reshape(-1, side, PATCH, side, PATCH).permute(0, 1, 3, 2, 4)
        x = self.patch_to_embedding(x.reshape(-1, side * side, PATCH * PATCH))
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embedding
        layers: Any = self.transformer["layers"]
        for attention, mlp in layers:
            x = x + attention["fn"](x)
            x = x + mlp["fn"](x)
        scores: Tensor = self.mlp_head(x[:, 0])
        return scores
