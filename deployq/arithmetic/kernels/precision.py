"""Integer sums of products through floating point, exact because a bound says so.

A sum of integer products whose magnitudes add up to less than 2**24 is exact in float32 in any
order of additions, and in float64 up to 2**53. The bound is taken from the actual operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor

FLOAT32_EXACT = 2.0**24
FLOAT64_EXACT = 2.0**53

Product: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def plain_float32(device: torch.device) -> Iterator[None]:
    """Float32 products that are float32: no TF32, no bfloat16, no autocast, no Winograd.

    The switches are global to the process; they are put back on the way out.
    """
    backends = torch.backends
    one_dnn: Any = backends.mkldnn  # its module class adds the attributes when it is imported
    switches = (one_dnn.matmul, one_dnn.conv, backends.cuda.matmul)
    before = [switch.fp32_precision for switch in switches]
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(backends.nnpack.flags(enabled=False))  # has Winograd
        if device.type == "cuda":  # cuDNN picks Winograd for 3x3; the native path is a GEMM
            stack.enter_context(backends.cudnn.flags(enabled=False, allow_tf32=False))
        try:
            for switch in switches:
                switch.fp32_precision = "ieee"
            yield
        finally:
            for switch, precision in zip(switches, before, strict=True):
                switch.fp32_precision = precision


def centre(codes: Tensor, zero_point: int | Tensor) -> Tensor:
    """Codes less their zero point, in the smallest float type that holds them."""
    dtype = torch.float32 if codes.element_size() <= 2 else torch.float64
    return codes.to(dtype) - torch.as_tensor(zero_point, dtype=dtype, device=codes.device)


def exact_product(value: Tensor, weight: Tensor, fan_in: Tensor, product: Product) -> Tensor | None:
    """``product(value, weight)`` in int64, or none when not even float64 is exact.

    Args:
        value: centred activations, float32 or float64 integers.
        weight: centred weights, likewise.
        fan_in: sum of |weight| into each output, any shape.
        product: a bilinear function of float tensors of one type.
    """
    span, most = _largest(value), float(fan_in.max()) if fan_in.numel() else 0.0
    with plain_float32(value.device):
        if max(span * most, span, most) < FLOAT32_EXACT:
            return product(value.float(), weight.float()).long()
        # value = high * step + low with |low| <= step / 2: two products of half the bits
        step = 2.0 ** ((int(span).bit_length() + 1) // 2)
        half = max(span / step + 1, step / 2)
        if max(half * most, most) < FLOAT32_EXACT:
            high = torch.floor(value / step + 0.5)
            low = (value - high * step).float()
            sums = product(high.float(), weight.float()).long() * int(step)
            return sums + product(low, weight.float()).long()
        if max(span * most, span, most) < FLOAT64_EXACT:
            return product(value.double(), weight.double()).long()
    return None


def _largest(value: Tensor) -> float:
    return float(value.abs().max()) if value.numel() else 0.0
