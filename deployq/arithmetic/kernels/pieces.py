"""Tensors in pieces that stay inside a processor's cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PIECE = 1 << 19
"""Elements of a piece: 2 MiB of float32."""


def in_pieces(function: Callable[..., Tensor], widest: int, *tensors: Tensor) -> Tensor:
    """``function(*tensors)`` of rows that do not depend on each other.

    Args:
        function: of n rows of each tensor to n rows of any shape.
        widest: elements of a row of a tensor, or of what is computed from it, whichever are more.
        tensors: (N, ...), the same N; those of rank 1 are one row.
    """
    rows = len(tensors[0]) if tensors[0].ndim > 1 else 1
    if rows * widest <= PIECE or rows == 1:
        return function(*tensors)
    step = max(1, PIECE // widest)
    first = function(*(tensor[:step] for tensor in tensors))
    result = _like(first, rows)
    result[:step] = first
    for start in range(step, rows, step):
        result[start : start + step] = function(*(t[start : start + step] for t in tensors))
    return result


def _like(part: Tensor, rows: int) -> Tensor:
    """An empty tensor of more rows, with the layout of a part."""
    last = part.ndim == 4 and part.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    shape = (rows, *part.shape[1:])
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=layout)
