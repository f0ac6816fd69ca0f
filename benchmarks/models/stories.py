"""A language model of short stories: 512 words, five blocks with rotary positions, shared heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, SHARED_HEADS, DEPTH, HIDDEN, WORDS = 64, 8, 4, 5, 172, 512
EACH = WIDTH // HEADS
EPS, BASE, CONTEXT = 1e-5, 10000.0, 512


class RMSNorm(nn.Module):
    """x over the root of its mean square along the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * self.weight


def rotations() -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (CONTEXT, EACH / 2)."""
    frequencies = BASE ** (-torch.arange(0, EACH, 2).double() / EACH)
    angles = torch.outer(torch.arange(CONTEXT).double(), frequencies)
    return angles.cos().float(), angles.sin().float()


def rotated(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """(N, heads, T, EACH): adjacent pairs turned by their position's angle."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    pairs = [even * cosines - odd * sines, even * sines + odd * cosines]
    return torch.stack(pairs, -1).flatten(-2)


class Attention(nn.Module):
    """(N, T, WIDTH) to the same; two heads of queries share one of keys and values."""

    cosines: Tensor
    sines: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.wq = nn.Linear(WIDTH, WIDTH, bias=False)
        self.wk = nn.Linear(WIDTH, SHARED_HEADS * EACH, bias=False)
        self.wv = nn.Linear(WIDTH, SHARED_HEADS * EACH, bias=False)
        self.wo = nn.Linear(WIDTH, WIDTH, bias=False)
        for name, table in zip(("cosines", "sines"), rotations(), strict=True):
            self.register_buffer(name, table, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            f(x).unflatten(-1, (-1, EACH)).transpose(1, 2) for f in (self.wq, self.wk, self.wv)
        )
        turns = [table[: x.shape[1]] for table in (self.cosines, self.sines)]
        q, k = (rotated(part, *turns) for part in (q, k))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        y: Tensor = self.wo(mixed.transpose(1, 2).flatten(2))
        return y


class FeedForward(nn.Module):
    """w2(silu(w1 x) * w3 x)."""

    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.w2 = nn.Linear(HIDDEN, WIDTH, bias=False)
        self.w3 = nn.Linear(WIDTH, HIDDEN, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.w2(functional.silu(self.w1(x)) * self.w3(x))
        return y


class Block(nn.Module):
    """Attention and feed-forward layers, each behind a norm and beside a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.attention = RMSNorm(), Attention()
        self.ffn_norm, self.feed_forward = RMSNorm(), FeedForward()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        y: Tensor = x + self.feed_forward(self.ffn_norm(x))
        return y


class Stories(nn.Module):
    """Ids (N, T), int64, T up to CONTEXT, to scores of the next word (N, T, WORDS)."""

    def __init__(self) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = RMSNorm()
        self.output = nn.Linear(WIDTH, WORDS, bias=False)
        self.output.weight = self.tok_embeddings.weight

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.output(self.norm(self.layers(self.tok_embeddings(x))))
        return scores
