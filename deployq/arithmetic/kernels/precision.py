"""Integer sums of products through floating point, exact because a bound says so.

A sum of integer products whose magnitudes add up to less than 2**24 is exact in float32 in any
order of additions, and in float64 up to 2**53. The bound is taken from the actual operands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from deployq.arithmetic.fan_in import absolute_sums
from deployq.errors import AccumulatorOverflowError

FLOAT32_EXACT = 2.0**24
FLOAT64_EXACT = 2.0**53
INT64_EXACT = 1 << 63


class Product(Protocol):
    """A bilinear function of float tensors of one type, plus a bias that broadcasts to it."""

    def __call__(self, value: Tensor, weight: Tensor, bias: Tensor | None, /) -> Tensor: ...


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


@dataclass(frozen=True, eq=False)
class Weights:
    """The second operand of a product, ready for many first ones.

    Args:
        value: less its zero point, float32 or float64 integers.
        most: largest sum of |value| into one output.
        bias: int64, broadcastable to the sums, or none.
    """

    value: Tensor
    most: float
    bias: Tensor | None = None

    @property
    def offset(self) -> int:
        """The largest |bias|."""
        return 0 if self.bias is None or not self.bias.numel() else int(self.bias.abs().max())


def weights(
    codes: Tensor, zero_point: int | Tensor, channel_axis: int | None, bias: Tensor | None
) -> Weights:
    """Weights of their codes.

    Args:
        channel_axis: of the outputs; None for (..., K, N) activations.
        bias: broadcastable to the sums.
    """
    dtype = torch.float32 if codes.element_size() <= 2 else torch.float64
    value = centre(codes, zero_point, dtype)
    if channel_axis is None:
        most = value.double().abs().sum(-2)
    else:
        most = absolute_sums(value.double(), channel_axis)
    return Weights(value, float(most.max()) if most.numel() else 0.0, bias)


def centre(codes: Tensor, zero_point: int | Tensor, dtype: torch.dtype) -> Tensor:
    """Codes less their zero point, in a float type that holds them; a tensor of its own."""
    value = codes.to(dtype, copy=True)
    return value if isinstance(zero_point, int) and not zero_point else value.sub_(zero_point)


def exact_sums(codes: Tensor, zero_point: int, weight: Weights, product: Product) -> Tensor | None:
    """``product(codes - zero_point, weight) + bias``, exact; none when float64 is not enough.

    Args:
        codes: integers, any type.
        weight: see :func:`weights`.
        product: a bilinear function of float tensors of one type; a third argument is added.

    Returns:
        int64; or, where every sum is below 2**24, float32.

    Raises:
        AccumulatorOverflowError: 64 bits may not hold a sum.
    """
    span, reach = _extent(codes, zero_point)
    largest = max(span * weight.most, reach, weight.most)
    if int(largest) + weight.offset >= INT64_EXACT:
        raise AccumulatorOverflowError(
            "sum",
            "every sum of the simulator fits 64 bits",
            found=f"products up to {largest:.6g}, a bias up to {weight.offset:.6g}",
            allowed="2**63",
            next_step="use fewer weight, activation or bias bits in this layer",
        )
    with plain_float32(codes.device):
        if largest + weight.offset < FLOAT32_EXACT:
            bias = None if weight.bias is None else weight.bias.float()
            return product(centre(codes, zero_point, torch.float32), weight.value.float(), bias)
        cells = centre(
            codes, zero_point, torch.float64 if reach >= FLOAT32_EXACT else torch.float32
        )
        sums = _wide_sums(cells, span, weight, product)
    return sums if sums is None or weight.bias is None else sums + weight.bias


def _wide_sums(cells: Tensor, span: int, weight: Weights, product: Product) -> Tensor | None:
    """Without the bias, int64; of cells in +-span."""
    most, value = weight.most, weight.value
    # cells = high * step + low with |low| <= step / 2: two products of half the bits
    step = 2.0 ** ((span.bit_length() + 1) // 2)
    half = max(span / step + 1, step / 2)
    if max(half * most, most) < FLOAT32_EXACT:
        high = torch.floor(cells / step + 0.5)
        low = (cells - high * step).float()
        sums = product(high.float(), value.float(), None).long() * int(step)
        return sums + product(low, value.float(), None).long()
    if max(span * most, span, most) < FLOAT64_EXACT:
        return product(cells.double(), value.double(), None).long()
    return None


def _extent(codes: Tensor, zero_point: int) -> tuple[int, int]:
    """The largest |code - zero point|, and the largest of |code| and |zero point|."""
    if not codes.numel():
        return 0, 0
    known = codes.long() if codes.dtype in _NO_EXTREMES else codes
    low, high = (int(end) for end in torch.aminmax(in_order_of_memory(known)))
    span = max(abs(low - zero_point), abs(high - zero_point))
    return span, max(abs(low), abs(high), abs(zero_point))


def in_order_of_memory(x: Tensor) -> Tensor:
    """A view without gaps where there is one: torch copies other tensors to read them."""
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return x.permute(0, 2, 3, 1) if last else x


_NO_EXTREMES = (torch.uint16, torch.uint32)
"""Types that torch stores and does little else with."""
