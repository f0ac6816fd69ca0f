"""A small vision transformer of 32x32 images with torch's MultiheadAttention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH, HEADS, DEPTH = 64, 4, 4


class Layer(nn.Module):
    """Attention and two layers, each behind a LayerNorm and beside a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        z: Tensor = x + self.mlp(self.norm2(x))
        return z


class ViTPreNorm(nn.Module):
    """(N, 3, 32, 32) to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.ModuleDict({"embed": nn.Conv2d(3, WIDTH, 4, 4)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, 65, WIDTH))
        self.transformer_layers = nn.Sequential(*(Layer() for _ in range(DEPTH)))
        self.out_head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embedding["embed"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        scores: Tensor = self.out_head(self.transformer_layers(x)[:, 0])
        return scores
