"""torch's own transformer encoder on 4x4 patches of 32x32 images, LayerNorm behind each sum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH, HEADS, DEPTH, WIDE = 128, 8, 6, 256


class ViTPostNorm(nn.Module):
    """(N, 3, 32, 32) to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, WIDTH, 4, 4)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, 65, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, WIDE, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, DEPTH)
        self.mlp_head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        scores: Tensor = self.mlp_head(self.transformer(x)[:, 0])
        return scores
