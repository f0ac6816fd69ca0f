"""Fake quantization, forwards and back, with few passes over memory.

Where all codes share one zero point ``z``, which on a CPU costs nothing to know,
``saturate(round(t) + z) - z`` is ``clamp(round(t), qmin - z, qmax - z)``: the same integers, exact
in float32. Masks are floats selected in one pass (``hardtanh_backward``): boolean tensors would
take most of a training step's time beyond its convolutions.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

EXACT_FLOAT32_BITS = 23
"""Codes of this width and their zero points add exactly in float32; wider ones need float64."""


def fake_quantized(x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
    """``(saturate(round_half_even(x / scale) + zero_point) - zero_point) * scale``, float32."""
    offset = common_offset(zero_point, qmin, qmax)
    if offset is None:
        return plainly_fake_quantized(x, scale, zero_point, qmin, qmax)
    steps = x.to(torch.float32) / scale
    steps.round_().clamp_(qmin - offset, qmax - offset)
    return steps.add_(0.0).mul_(scale)  # a zero is +0.0, as after adding and taking off z


def plainly_fake_quantized(
    x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int
) -> Tensor:
    """:func:`fake_quantized` of any zero points, any width, any device; nothing in place."""
    codes = torch.clamp(unsaturated(x, scale, zero_point, qmin, qmax), qmin, qmax)
    return (codes - zero_point).to(torch.float32) * scale


def gradients(
    grad: Tensor,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    limits: tuple[int, int],
    *,
    of_scale: bool,
) -> tuple[Tensor, Tensor | None]:
    """Gradients of ``x``, and of ``scale`` where asked for; their formulas are the caller's.

    Args:
        grad: of the output, shape of ``x``.
        x, scale, zero_point: of the forward pass.
        limits: lowest and highest code.
    """
    offset = common_offset(zero_point, *limits)
    if offset is None:
        return plain_gradients(grad, x, scale, zero_point, limits, of_scale=of_scale)
    steps = x.to(torch.float32) / scale
    low, high = limits[0] - offset, limits[1] - offset
    inside = (_below(low), _above(high))
    grad_x = torch.ops.aten.hardtanh_backward(grad, steps, *inside)
    if not of_scale:
        return grad_x, None
    slope = torch.round(steps).clamp_(low, high)
    slope.sub_(torch.ops.aten.hardtanh_backward(steps, steps, *inside))
    return grad_x, slope.mul_(grad).sum_to_size(scale.shape)


def plain_gradients(
    grad: Tensor,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    limits: tuple[int, int],
    *,
    of_scale: bool,
) -> tuple[Tensor, Tensor | None]:
    """:func:`gradients` of any zero points, any width, any device; nothing in place."""
    code = unsaturated(x, scale, zero_point, *limits)
    inside = (code >= limits[0]) & (code <= limits[1])
    grad_x = torch.where(inside, grad, 0.0)
    if not of_scale:
        return grad_x, None
    clipped = (torch.clamp(code, *limits) - zero_point).to(torch.float32)
    slope = torch.where(inside, clipped - x.to(torch.float32) / scale, clipped)
    return grad_x, (grad * slope).sum_to_size(scale.shape)


def unsaturated(x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
    """Codes before saturation, in a float type that holds every code exactly."""
    rounded = torch.round(x.to(torch.float32) / scale)
    if not _fits_float32(qmin, qmax):
        rounded = rounded.to(torch.float64)
    return rounded + zero_point


def common_offset(zero_point: Tensor, qmin: int, qmax: int) -> int | None:
    """The one zero point of all codes; None where there are several, or reading it would wait."""
    if zero_point.device.type != "cpu" or not _fits_float32(qmin, qmax):
        return None
    first = int(zero_point.reshape(-1)[0])
    same = zero_point.numel() == 1 or bool((zero_point == first).all())
    return first if same else None


def _fits_float32(qmin: int, qmax: int) -> bool:
    return max(-qmin, qmax) < 1 << EXACT_FLOAT32_BITS


def _above(code: int) -> float:
    """The least float32 that rounds, half to even, to more than ``code``."""
    tie = np.float32(code + 0.5)
    return float(np.nextafter(tie, np.float32(math.inf)) if code % 2 == 0 else tie)


def _below(code: int) -> float:
    """The greatest float32 that rounds, half to even, to less than ``code``."""
    return -_above(-code)
