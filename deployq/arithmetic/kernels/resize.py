"""Nearest resizing; ``oracle.resize`` in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.arithmetic.geometry import Pair
from deployq.arithmetic.oracle.resize import nearest_index


def nearest_resize(x: Tensor, size: Pair) -> Tensor:
    """(N, C, H, W) codes of any integer type, resized; see the oracle."""
    for axis, cells in zip((2, 3), size, strict=True):
        index = torch.from_numpy(nearest_index(x.shape[axis], cells)).to(x.device)
        x = x.index_select(axis, index)
    return x
