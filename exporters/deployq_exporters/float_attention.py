"""scaled_dot_product_attention in float, in operators that every opset has.

Only calls come here that :mod:`deployq.graph.rewrites.attention_to_products` leaves whole. Torch's
own translation takes no mask of truths below opset 23, and makes no number of a query that the mask
hides every key from, where torch has 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MASKED = float("-inf")


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, *,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """``softmax((q c) k' + mask) v``, after the definition in torch's documentation.

    Args:
        query: (..., H, L, E).
        key, value: (..., H, S, E) and (..., H, S, F); of fewer heads with ``enable_gqa``.
        attn_mask: of truths, where a score counts, or of reals; broadcasts to (..., H, L, S).
        dropout_p: 0; an attention that drops shares is no function.
    """
    if enable_gqa:
        key, value = (_for_heads(operand, query.shape[-3]) for operand in (key, value))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is None:
        return torch.softmax(scores, -1) @ value
    if attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, MASKED)
    else:
        scores = scores + attn_mask
    hidden = scores.amax(-1, keepdim=True) == MASKED
    return torch.softmax(scores, -1).masked_fill(hidden, 0.0) @ value


def _for_heads(operand: Tensor, heads: int) -> Tensor:
    """(..., H / g, S, E) to (..., H, S, E)."""
    return operand.repeat_interleave(heads // operand.shape[-3], -3)
