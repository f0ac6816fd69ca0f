"""Convolutions of bytes in oneDNN's integer kernels: four times the speed of float32 ones.

The operator belongs to torch's own compiler and may change or go: it is tried once, on sums that
saturate where a processor has no exact instruction, and left alone when anything is amiss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deployq.arithmetic.float32 import fma
from deployq.arithmetic.fused_step import FusedStep
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


def int8_codes(
    w: Tensor, step: FusedStep, zero_point: int, geometry: ConvGeometry, padding: tuple[int, int]
) -> Int8Convolution | None:
    """As :func:`int8_convolution`, to uint8 codes, saturated; right where ``step`` holds.

    Args:
        zero_point: of the output.

    Returns:
        None where the processor lacks the kernels; the caller bounds the sums.
    """
    if not _is_exact():
        return None
    scale, addend = torch.from_numpy(step.multiplier), torch.from_numpy(step.addend)
    return _Convolution(w, addend, geometry, padding, _Out(scale, torch.uint8, zero_point))


@dataclass(frozen=True, eq=False)
class _Out:
    """What becomes of a sum: times a scale for each channel, plus the bias, plus the zero point."""

    scale: Tensor = field(default_factory=lambda: torch.ones(1))
    dtype: torch.dtype = torch.float32
    zero_point: int = 0


class _Convolution:
    """Weights in oneDNN's layout, which depends on the shape of the input."""

    def __init__(
        self,
        w: Tensor,
        bias: Tensor | None,
        geometry: ConvGeometry,
        padding: tuple[int, int],
        out: _Out | None = None,
    ) -> None:
        self._w, self._bias, self._out = w, bias, out or _Out()
        self._window: tuple[Any, ...] = (
            list(geometry.strides), list(padding), list(geometry.dilations), geometry.groups
        )  # fmt: skip
        self._zeros = torch.zeros(len(self._out.scale), dtype=torch.int32)
        self._packed: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, x: Tensor, zero_point: int) -> Tensor:
        if x.dtype == torch.int8:  # the kernel takes uint8: the same codes 128 higher
            x, zero_point = x.view(torch.uint8) ^ _SIGN, zero_point + _SIGN
        shape, onednn = tuple(x.shape), torch.ops.onednn
        if shape not in self._packed:
            packed = onednn.qconv_prepack(
                self._w, self._out.scale, 1.0, zero_point, *self._window, list(shape)
            )
            self._packed[shape] = packed
        sums: Tensor = onednn.qconv2d_pointwise(
            x, 1.0, zero_point, self._packed[shape], self._out.scale, self._zeros, self._bias,
            *self._window, 1.0, self._out.zero_point, self._out.dtype, "none", [], "",
        )  # fmt: skip
        return sums


@lru_cache(1)
def _is_exact() -> bool:
    """Extreme codes give exact sums, dense and depthwise, with and without a zero point."""
    cases = ((1, 0), (1, 131), (64, 0), (64, 131))
    try:
        return all(_probe(*case) and _probe_codes(*case) for case in cases)
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


def _probe_codes(groups: int, zero_point: int) -> bool:
    """The codes are those of one of the two formulas of ``fused_step``, all of them."""
    numbers = torch.Generator().manual_seed(groups)
    x = torch.randint(0, HIGHEST + 1, (1, 64, 9, 9), generator=numbers).byte()
    w = torch.randint(-128, 128, (64, 64 // groups, 1, 1), generator=numbers, dtype=torch.int8)
    scale = torch.rand(64, generator=numbers).float() * (0.02 if groups > 1 else 0.002)
    bias = torch.randn(64, generator=numbers) * 40
    out, geometry = _Out(scale, torch.uint8, 3), ConvGeometry(groups=groups)
    found = _Convolution(w, bias, geometry, (0, 0), out)(x, zero_point).numpy()
    sums = F.conv2d(x.double() - zero_point, w.double(), None, groups=groups).float().numpy()
    m, a = (values.numpy().reshape(1, -1, 1, 1) for values in (scale, bias))
    sides = sums * m + a, fma(sums, m, a)
    return any(bool((np.rint(side + 3).clip(0, 255) == found).all()) for side in sides)
