"""Tensors in pieces that stay inside a processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

PIECE = 1 << 19
"""Elements of a piece of what is computed element by element: 2 MiB of float32."""

SUMS = 1 << 21
"""Elements of a piece of sums: more, because a convolution has a cost of its own to begin with."""


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
    result: Tensor | None = None
    for piece in pieces(rows, widest, PIECE):
        part = function(*(tensor[piece] for tensor in tensors))
        result = _like(part, rows) if result is None else result
        result[piece] = part
    assert result is not None  # there are rows
    return result


def pieces(rows: int, widest: int, size: int) -> Iterator[slice]:
    """Rows together, as many as ``size`` elements have room for, and one at least.

    Args:
        widest: elements of a row.
    """
    step = max(1, size // max(widest, 1))
    return (slice(start, start + step) for start in range(0, rows, step))


def _like(part: Tensor, rows: int) -> Tensor:
    """An empty tensor of more rows, with the layout of a part."""
    last = part.ndim == 4 and part.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    shape = (rows, *part.shape[1:])
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=layout)
