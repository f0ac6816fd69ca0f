"""Convolutions of bytes in oneDNN's integer kernels: four times the speed of float32 ones.

The operator belongs to torch's own compiler and may change or go: it is tried once, on sums that
saturate where a processor has no exact instruction, and left alone when anything is amiss.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels.precision import FLOAT32_EXACT, Weights

Int8Convolution = Callable[[Tensor, int], Tensor]
BYTES = (torch.uint8, torch.int8)
HIGHEST = 255
"""Of the codes of a byte, and of the distance of two of them."""
_SIGN = 128


def int8_convolution(
    w: Tensor, ready: Weights, geometry: ConvGeometry, padding: tuple[int, int]
) -> Int8Convolution | None:
    """From byte codes and their zero point to float32 sums with the bias, all below 2**24.

    Args:
        w: (O, C/g, kh, kw) codes with zero point 0.
        ready: the same weights with their bias.
        padding: rows and columns; cells there hold the zero point.

    Returns:
        None where a sum could reach 2**24, weights are no int8, or the processor lacks the kernels.
    """
    small = w.dtype == torch.int8 and w.device.type == "cpu"
    if not small or HIGHEST * ready.most + ready.offset >= FLOAT32_EXACT or not _is_exact():
        return None
    bias = None if ready.bias is None else ready.bias.flatten().float()
    return _Convolution(w, bias, geometry, padding)


class _Convolution:
    """Weights in oneDNN's layout, which depends on the shape of the input."""

    def __init__(
        self, w: Tensor, bias: Tensor | None, geometry: ConvGeometry, padding: tuple[int, int]
    ) -> None:
        self._w, self._bias = w, bias
        self._window: tuple[Any, ...] = (
            list(geometry.strides), list(padding), list(geometry.dilations), geometry.groups
        )  # fmt: skip
        self._unscaled = torch.ones(1), torch.zeros(1, dtype=torch.int32)
        self._packed: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, x: Tensor, zero_point: int) -> Tensor:
        if x.dtype == torch.int8:  # the kernel takes uint8: the same codes 128 higher
            x, zero_point = x.view(torch.uint8) ^ _SIGN, zero_point + _SIGN
        shape, onednn = tuple(x.shape), torch.ops.onednn
        if shape not in self._packed:
            packed = onednn.qconv_prepack(
                self._w, self._unscaled[0], 1.0, zero_point, *self._window, list(shape)
            )
            self._packed[shape] = packed
        sums: Tensor = onednn.qconv2d_pointwise(
            x, 1.0, zero_point, self._packed[shape], *self._unscaled, self._bias, *self._window,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return sums


@lru_cache(1)
def _is_exact() -> bool:
    """Extreme codes give exact sums, dense and depthwise, with and without a zero point."""
    try:
        return all(_probe(*case) for case in ((1, 0), (1, 131), (64, 0), (64, 131)))
    except (AttributeError, RuntimeError, TypeError):  # no such operator, or another signature
        return False


def _probe(groups: int, zero_point: int) -> bool:
    x = torch.full((1, 64, 9, 9), HIGHEST, dtype=torch.uint8)
    x[:, ::3] = 0
    w = torch.full((64, 64 // groups, 3, 3), 127, dtype=torch.int8)
    w[::2] = -128
    geometry, padding = ConvGeometry(groups=groups), (1, 1)
    found = _Convolution(w, torch.arange(64.0), geometry, padding)(x, zero_point)
    real, bias = x.double() - zero_point, torch.arange(64.0).double()
    return torch.equal(found.double(), F.conv2d(real, w.double(), bias, 1, 1, 1, groups))
