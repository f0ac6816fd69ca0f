"""A block of a vision transformer that exporters are tried on."""

from __future__ import annotations

from torch import Tensor, nn


class Block(nn.Module):
    """A block of a vision transformer: heads, normalizations of rows and of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.pixels, self.first, self.second = (nn.LayerNorm(16) for _ in range(3))
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.one, self.two = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pixels(self.patches(x).permute(0, 2, 3, 1)).flatten(1, 2)
        heads = self.qkv(self.first(x)).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*heads.unbind(0))
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.two(nn.functional.gelu(self.one(self.second(x))))
