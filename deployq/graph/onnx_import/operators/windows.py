"""Windows that slide over maps: kernel, strides, dilations and pads of Conv and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from deployq.graph.onnx_import.arguments import expect, expect_map
from deployq.graph.onnx_import.node import OnnxNode


@dataclass(frozen=True)
class Window:
    """Rows first, columns second; ``begins`` and ``ends`` are pads."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    begins: tuple[int, int]
    ends: tuple[int, int]

    @property
    def symmetric(self) -> bool:
        return self.begins == self.ends


def read_window(node: OnnxNode, x: Tensor, kernel: Sequence[Any]) -> Window:
    """The window of a node on (N, C, H, W), with ``auto_pad`` resolved for this map.

    Raises:
        UnsupportedError: another rank, or an unknown ``auto_pad``.
    """
    expect_map(node, x)
    rows, columns = kernel
    strides, dilations = _pair(node, "strides"), _pair(node, "dilations")
    size = (int(x.shape[2]), int(x.shape[3]))
    window = Window((int(rows), int(columns)), strides, dilations, (0, 0), (0, 0))
    begins, ends = _pads(node, window, size)
    return Window(window.kernel, strides, dilations, begins, ends)


def _pair(node: OnnxNode, key: str) -> tuple[int, int]:
    rows, columns = node.get(key, (1, 1))
    return int(rows), int(columns)


def _pads(
    node: OnnxNode, window: Window, size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    mode = node.get("auto_pad", "NOTSET") or "NOTSET"
    if mode == "NOTSET":
        top, left, bottom, right = node.get("pads", (0, 0, 0, 0))
        return (top, left), (bottom, right)
    known = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    expect(node, mode in known, "auto_pad is one of ONNX's modes", mode, ", ".join(known))
    if mode == "VALID":
        return (0, 0), (0, 0)
    totals = [
        max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
        for n, k, stride, dilation in zip(
            size, window.kernel, window.strides, window.dilations, strict=True
        )
    ]
    less = (totals[0] // 2, totals[1] // 2)
    more = (totals[0] - less[0], totals[1] - less[1])
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def pad_map(x: Tensor, window: Window, value: float = 0.0) -> Tensor:
    """The map with the window's pads around it."""
    (top, left), (bottom, right) = window.begins, window.ends
    return F.pad(x, [left, right, top, bottom], value=value)
