"""Batches of training images, shuffled and augmented by seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from deployq.data import Dataset

PADDING = 4
"""Pixels on each side, of which a crop leaves as many."""


@dataclass(frozen=True)
class Images:
    """Normalized images (N, 3, H, W) and labels (N,)."""

    x: Tensor
    y: Tensor

    @classmethod
    def of(cls, dataset: Dataset, count: int | None = None) -> Images:
        """The first ``count`` images of a data set of one input."""
        assert dataset.labels is not None
        (x,) = dataset.inputs.values()
        return cls(torch.from_numpy(x[:count]), torch.from_numpy(dataset.labels[:count]))

    def stream(self, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass after pass without end: each in another order, flipped and shifted at random.

        A short last batch of a pass is left out.
        """
        draw = torch.Generator().manual_seed(seed)
        while True:
            for chosen in torch.randperm(len(self.x), generator=draw).split(size):
                if len(chosen) == size:
                    yield augmented(self.x[chosen], draw), self.y[chosen]


def augmented(x: Tensor, draw: torch.Generator) -> Tensor:
    """Each image flipped or not, and shifted by up to :data:`PADDING` pixels; zeros move in."""
    flip = torch.rand(len(x), generator=draw) < 0.5
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    shift = torch.randint(2 * PADDING + 1, (2,), generator=draw).tolist()
    height, width = x.shape[2:]
    padded = functional.pad(x, [PADDING] * 4)
    return padded[:, :, shift[0] : shift[0] + height, shift[1] : shift[1] + width].contiguous()
