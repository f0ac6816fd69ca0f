"""Between codes, parameters and tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.codes import Bounds, clip_range, scale_and_zero
from deployq.qparams import FloatArray, QParams
from deployq.qtypes import QType

_DTYPES = {
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.int32,
    "int32": torch.int32,
    "uint32": torch.int64,
}

FLOAT32_BITS = 23
"""Codes of this width and their zero points are whole numbers of float32."""
_ROUNDER = 1.5 * 2.0**23
"""From 2**23 to 2**24 float32 holds whole numbers alone; the low 22 bits of this one are zeros."""


def torch_dtype(qtype: QType) -> torch.dtype:
    """The torch type that holds codes; unsigned 16 and 32 bits take the next signed one."""
    return _DTYPES[str(qtype.dtype)]


def to_tensor(value: FloatArray | np.floating, like: Tensor) -> Tensor:
    """A NumPy number or array of scales on the device of ``like``, with its own float type."""
    return torch.from_numpy(np.array(value)).to(like.device)


def scale_tensor(qparams: QParams, like: Tensor, where: str) -> Tensor:
    """The float32 scale of an activation, rank 0, on the device of ``like``."""
    return to_tensor(scale_and_zero(qparams, where)[0], like)


def centred(codes: Tensor, qparams: QParams) -> Tensor:
    """Codes less their zero point, int64."""
    return codes.long() - scale_and_zero(qparams, "activation")[1]


def nearest(x: Tensor) -> Tensor:
    """Nearest integer, ties to even; beyond 2**40 every code saturates."""
    return x.round().clamp(-(2.0**40), 2.0**40).long()


def in_order_sum(parts: Tensor) -> Tensor:
    """(..., 1) sums along the last axis, in the type and the order of the elements."""
    total = torch.zeros_like(parts[..., :1])
    for index in range(parts.shape[-1]):
        total += parts[..., index : index + 1]
    return total


def saturate(values: Tensor, out: QParams, bounds: Bounds | None) -> Tensor:
    """Integers clipped to the codes of ``out`` (and to ``bounds``), in its torch type."""
    low, high = clip_range(out, bounds)
    return values.clamp(low, high).to(torch_dtype(out.qtype))


def to_codes(values: Tensor, out: QParams, bounds: Bounds | None) -> Tensor:
    """Zero point added, then saturated; floats are rounded half to even first.

    Args:
        values: int64, or float without NaN, which is overwritten.
    """
    codes = torch.empty_like(values, dtype=torch_dtype(out.qtype))
    return coder(out, bounds)(values, codes)


def coder(out: QParams, bounds: Bounds | None) -> Callable[[Tensor, Tensor], Tensor]:
    """:func:`to_codes` for values that come in pieces, into tensors for their codes."""
    zero_point, (low, high) = scale_and_zero(out, "output")[1], clip_range(out, bounds)
    bits, most, least = out.qtype.bits, high - zero_point, low - zero_point

    def codes_of(values: Tensor, into: Tensor) -> Tensor:
        if not values.is_floating_point():
            return into.copy_((values + zero_point).clamp_(low, high))
        if values.dtype == torch.float32 and bits > FLOAT32_BITS:
            values = values.double()  # the ends of the range are no float32
        inside = values.clamp_(least, most)
        if values.dtype == torch.float32 and bits <= 8:
            # one unit of the sum is its last bit, so the addition rounds; the code is its low byte
            into.copy_(inside.add_(_ROUNDER).view(torch.int32))
            return into.add_(zero_point) if zero_point else into
        return into.copy_(inside.round_().add_(zero_point))

    return codes_of


def quantize(x: Tensor, qparams: QParams) -> Tensor:
    """Codes of finite reals under per-tensor parameters; ``affine.quantize`` in torch."""
    return to_codes(x.float() / scale_tensor(qparams, x, "activation"), qparams, None)


def dequantize(codes: Tensor, qparams: QParams) -> Tensor:
    """float32 reals of codes under per-tensor parameters; ``affine.dequantize`` in torch."""
    return centred(codes, qparams).float() * scale_tensor(qparams, codes, "activation")
