"""Fake quantization in plain operators, for torch.compile to fuse with what is around it.

For CPUs alone: the C++ that inductor writes divides where the graph divides, rounds half to even,
and is built without contraction or unsafe mathematics, so codes are those of the opaque operator.
Gradients of scales are sums in another order.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from deployq.graph.quantize_kernels import plain_gradients, plainly_fake_quantized


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int
    ) -> Tensor:
        ctx.save_for_backward(x, scale, zero_point)
        ctx.limits = (qmin, qmax)
        return plainly_fake_quantized(x, scale, zero_point, qmin, qmax)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        x, scale, zero_point = ctx.saved_tensors
        of_scale = ctx.needs_input_grad[1]
        found = plain_gradients(grad, x, scale, zero_point, ctx.limits, of_scale=of_scale)
        return *found, None, None, None


def fuses(x: Tensor) -> bool:
    """True while torch.compile traces a computation on a CPU."""
    return torch.compiler.is_dynamo_compiling() and x.device.type == "cpu"


def fused_fake_quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int
) -> Tensor:
    """``torch.ops.deployq.fake_quantize`` with the same arguments, codes and gradients.

    No second derivatives.
    """
    found = _Fused.apply(x, scale, zero_point, qmin, qmax)  # type: ignore[no-untyped-call] # torch leaves apply untyped
    return cast(Tensor, found)
