"""Bytes of codes as ONNX stores them."""

from __future__ import annotations

from deployq.qtypes import QType


def packed_size(count: int, qtype: QType) -> int:
    """Bytes of ``count`` codes in their ONNX container, several to a byte below 8 bits."""
    return -(-count * qtype.container.bits // 8)
