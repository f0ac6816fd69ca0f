"""Integer sums of layers, their weights made ready once for as long as their integers stay."""

from __future__ import annotations

import torch

from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.arithmetic.kernels.conv_transpose import CONVOLUTION_SUMS
from deployq.arithmetic.kernels.linear import Sums, gemm_sums
from deployq.graph.integers import LayerIntegers
from deployq.graph.units import QuantizedLinear
from deployq.qparams import IntArray


def layer_sums(
    integers: LayerIntegers, unit: QuantizedLinear, bias: IntArray | None, device: torch.device
) -> Sums:
    """The sums of a layer on a device.

    Args:
        bias: int64 (C,) codes that join the sums, if any do.
    """
    dtype = torch_dtype(integers.weight.qtype)
    weight = torch.from_numpy(integers.codes.codes).to(dtype).to(device)  # bytes travel
    added = None if bias is None else torch.from_numpy(bias).to(device)
    if unit.op_type == "Gemm":
        return gemm_sums(weight.T, 0, added)
    return CONVOLUTION_SUMS[unit.op_type](weight, 0, added, unit.geometry)


class KeptSums:
    """The sums of the layers of one network on one device under one contract."""

    def __init__(self) -> None:
        self._ready: dict[str, tuple[LayerIntegers, Sums]] = {}

    def of(
        self,
        name: str,
        integers: LayerIntegers,
        unit: QuantizedLinear,
        bias: IntArray | None,
        device: torch.device,
    ) -> Sums:
        """As :func:`layer_sums`; made anew where the integers are others."""
        if name not in self._ready or self._ready[name][0] is not integers:
            self._ready[name] = integers, layer_sums(integers, unit, bias, device)
        return self._ready[name][1]
