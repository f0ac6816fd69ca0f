"""Between codes, parameters and tensors."""

from __future__ import annotations

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
    return _DTYPES[qtype.dtype.name]


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


def saturate(values: Tensor, out: QParams, bounds: Bounds | None) -> Tensor:
    """Integers clipped to the codes of ``out`` (and to ``bounds``), in its torch type."""
    low, high = clip_range(out, bounds)
    return values.clamp(low, high).to(torch_dtype(out.qtype))


def to_codes(values: Tensor, out: QParams, bounds: Bounds | None) -> Tensor:
    """Zero point added, then saturated; floats are rounded half to even first.

    Args:
        values: int64, or float without NaN, which is overwritten.
    """
    zero_point = scale_and_zero(out, "output")[1]
    if not values.is_floating_point():
        return saturate(values + zero_point, out, bounds)
    low, high = clip_range(out, bounds)
    if values.dtype == torch.float32 and out.qtype.bits > FLOAT32_BITS:
        values = values.double()  # the ends of the range are no float32
    inside = values.clamp_(low - zero_point, high - zero_point)
    if values.dtype == torch.float32 and out.qtype.bits <= 8:
        # one unit of the sum is its last bit, so the addition rounds; the code is its low byte
        return inside.add_(_ROUNDER).view(torch.int32).to(torch_dtype(out.qtype)).add_(zero_point)
    return inside.round_().add_(zero_point).to(torch_dtype(out.qtype))


def quantize(x: Tensor, qparams: QParams) -> Tensor:
    """Codes of finite reals under per-tensor parameters; ``affine.quantize`` in torch."""
    return to_codes(x.float() / scale_tensor(qparams, x, "activation"), qparams, None)
