"""Devices that the kernels may run on: those that compute what the processor does, to the bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import QDQ
from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels.codes import quantize
from deployq.arithmetic.kernels.linear import conv_sums, gemm_sums, matmul_sums
from deployq.arithmetic.kernels.requantize import requantize
from deployq.errors import InputError
from deployq.qparams import QParams
from deployq.qtypes import QType

CPU = torch.device("cpu")
ROWS = 64
"""Of a probe: enough for the kernels that libraries keep for larger products."""


def exact_device(name: str, where: str = "device") -> torch.device:
    """A device by its name in torch; ``cuda`` is the GPU of this process of torchrun.

    It is tried once: products near 2**24, which TF32, bfloat16 or Winograd would round, and the
    divisions and multiplications behind them have to be those of the processor.

    Args:
        where: that an error names.

    Raises:
        InputError: it is none, it is not there, or it computes otherwise.
    """
    try:
        device = _own(torch.device(name))
        torch.zeros(1, dtype=torch.float64, device=device).cpu()  # meta has no values, mps no type
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise _refusal(where, f"{name!r}: {str(error).split('. ')[0]}") from error
    wrong = [] if device == CPU else other_bits(device)
    if wrong:
        raise _refusal(where, f"{name!r}, with other {', '.join(wrong)}")
    return device


def other_bits(device: torch.device) -> list[str]:
    """What a device computes otherwise than the processor."""
    return [n for n, probe in PROBES.items() if not torch.equal(probe(device).cpu(), probe(CPU))]


def _own(device: torch.device) -> torch.device:
    rank = os.environ.get("LOCAL_RANK")
    if device.type != "cuda" or device.index is not None or rank is None:
        return device
    return torch.device("cuda", int(rank))


def _drawn(low: int, high: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    numbers = torch.Generator().manual_seed(sum(shape))
    return torch.randint(low, high, shape, generator=numbers).to(device)


def _gemm(device: torch.device) -> Tensor:
    x = _drawn(-(1 << 15), 1 << 15, (ROWS, ROWS), device).short()
    return gemm_sums(_drawn(-3, 4, (ROWS, ROWS), device).to(torch.int8), 0, None)(x, 1)


def _convolution(device: torch.device) -> Tensor:
    x = _drawn(-(1 << 15), 1 << 15, (4, 16, 9, 9), device).short()
    w = _drawn(-2, 3, (16, 16, 3, 3), device).to(torch.int8)
    return conv_sums(w, 0, None, ConvGeometry(pads=(1, 1, 1, 1)))(x, 0)


def _product(device: torch.device) -> Tensor:
    x = _drawn(-(1 << 15), 1 << 15, (4, ROWS, ROWS), device).short()
    return matmul_sums(x, 3, _drawn(-3, 4, (4, ROWS, ROWS), device).to(torch.int8), 0)


def _quantized(device: torch.device) -> Tensor:
    x = _drawn(-(1 << 22), 1 << 22, (ROWS, ROWS), device).float() / 1024
    return quantize(x, QParams(QType(16, True), np.array(0.0473, np.float32)))


def _requantized(device: torch.device) -> Tensor:
    sums = _drawn(-(1 << 22), 1 << 22, (ROWS, ROWS), device)
    out = QParams(QType(16, True), np.asarray(SCALE))
    return requantize(sums, SCALE, SCALE / 7, out, QDQ.default)


SCALE = np.float32(0.037)
PROBES: Mapping[str, Callable[[torch.device], Tensor]] = {
    "products with a constant": _gemm,
    "convolutions": _convolution,
    "products of two activations": _product,
    "quantized reals": _quantized,
    "requantized sums": _requantized,
}


def _refusal(where: str, found: str) -> InputError:
    allowed = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return InputError(
        where,
        "a device is there, and computes on integers what the processor does",
        found=found,
        allowed=", ".join(allowed),
        next_step="leave it out for the processor",
    )
