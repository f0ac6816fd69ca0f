"""Integer sums of transposed convolutions; ``oracle.conv_transpose`` in torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deployq.arithmetic.fan_in import absolute_sums
from deployq.arithmetic.geometry import ConvTransposeGeometry
from deployq.arithmetic.kernels.linear import (
    ZeroPoint,
    as_numpy,
    conv_accumulate,
    zero_point_along,
)
from deployq.arithmetic.kernels.precision import centre, exact_product
from deployq.arithmetic.oracle import conv_transpose as oracle
from deployq.arithmetic.weight_layout import inputs_first


def conv_transpose_accumulate(
    x: Tensor,
    x_zero_point: int,
    w: Tensor,
    w_zero_point: ZeroPoint,
    bias: Tensor | None,
    geometry: ConvTransposeGeometry,
) -> Tensor:
    """Accumulators of a transposed convolution; see the oracle.

    The float type is chosen as in ``linear.conv_accumulate``; an output cell sums at most the whole
    window, so the same bound holds.
    """
    geometry.check_channels(x.shape[1], tuple(w.shape))
    geometry.output_size((x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]))
    weight = centre(w, zero_point_along(w_zero_point, (-1, 1, 1, 1)))
    top, left, bottom, right = geometry.margins()
    sides = left, right, top, bottom  # torch lists the last axis first

    def convolve(cells: Tensor, kernel: Tensor) -> Tensor:
        given, groups = inputs_first(kernel, geometry.groups), geometry.groups
        whole = F.conv_transpose2d(
            cells, given, None, geometry.strides, 0, 0, groups, geometry.dilations
        )
        longer = F.pad(whole, [max(side, 0) for side in sides])  # first: a cut may take all of it
        return F.pad(longer, [min(side, 0) for side in sides])

    acc = exact_product(centre(x, x_zero_point), weight, absolute_sums(weight, 0), convolve)
    if acc is None:
        zero_point = w_zero_point if isinstance(w_zero_point, int) else np.asarray(w_zero_point)
        codes = as_numpy(x), x_zero_point, as_numpy(w), zero_point
        sums = oracle.conv_transpose_accumulate(*codes, None, geometry)
        acc = torch.from_numpy(sums).to(x.device)
    return acc if bias is None else acc + bias.long().reshape(1, -1, 1, 1)


CONVOLUTIONS: dict[str, Callable[..., Tensor]] = {
    "Conv": conv_accumulate,
    "ConvTranspose": conv_transpose_accumulate,
}
"""ONNX operator to its sums; all take (x, x_zero_point, w, w_zero_point, bias, geometry)."""
