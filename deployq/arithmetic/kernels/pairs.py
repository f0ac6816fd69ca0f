"""Functions of two 8-bit codes as tables of all 65,536 pairs: exact whatever the arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from deployq.arithmetic.codes import Bounds
from deployq.arithmetic.contract import Form
from deployq.arithmetic.kernels.int8 import BYTES
from deployq.arithmetic.kernels.pieces import in_pieces
from deployq.arithmetic.kernels.precision import in_order_of_memory
from deployq.errors import AccumulatorOverflowError
from deployq.qparams import QParams

Operand = tuple[Tensor, QParams]
Elementwise = Callable[[Operand, Operand, QParams, Form, "Bounds | None"], Tensor]

CODES = 256
WORTH = CODES * CODES
"""Elements from which a table pays: it computes as many itself."""
CACHED_TABLES = 256


def of_pairs(
    function: Elementwise,
    left: Operand,
    right: Operand,
    out: QParams,
    form: Form,
    bounds: Bounds | None,
) -> Tensor:
    """``function(left, right, out, form, bounds)``, by a table where that is faster.

    Args:
        function: computes each element from its two codes alone.
        left, right: codes, broadcastable.
    """
    (a, qa), (b, qb) = left, right
    bytes_ = a.dtype in BYTES and b.dtype in BYTES
    if not bytes_ or max(a.numel(), b.numel()) < WORTH:
        return function(left, right, out, form, bounds)
    try:
        table = _table(function, (a.dtype, qa), (b.dtype, qb), out, form, bounds)
    except AccumulatorOverflowError:  # of codes that need not occur
        return function(left, right, out, form, bounds)
    table = table.to(a.device)
    if a.shape == b.shape:
        return in_pieces(partial(_look_up, table), a.numel() // max(len(a), 1), a, b)
    return _look_up(table, a, b)


def _look_up(table: Tensor, a: Tensor, b: Tensor) -> Tensor:
    pair = a.to(torch.int32).mul_(CODES).add(b)
    lowest = torch.iinfo(a.dtype).min * CODES + torch.iinfo(b.dtype).min
    flat = in_order_of_memory(pair.sub_(lowest) if lowest else pair)
    found = table.index_select(0, flat.reshape(-1)).reshape(flat.shape)
    return found if flat is pair else found.permute(0, 3, 1, 2)


@lru_cache(CACHED_TABLES)
def _table(
    function: Elementwise,
    left: tuple[torch.dtype, QParams],
    right: tuple[torch.dtype, QParams],
    out: QParams,
    form: Form,
    bounds: Bounds | None,
) -> Tensor:
    """(65,536,) results, the left code in the upper half of the index."""
    a = _every(left[0]).repeat_interleave(CODES)
    b = _every(right[0]).repeat(CODES)
    return function((a, left[1]), (b, right[1]), out, form, bounds)


def _every(dtype: torch.dtype) -> Tensor:
    """(256,) codes of a type of one byte, from the lowest."""
    low = torch.iinfo(dtype).min
    return torch.arange(low, low + CODES).to(dtype)
