"""Integer sums of transposed convolutions; ``oracle.conv_transpose`` in torch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from deployq.arithmetic.geometry import ConvTransposeGeometry
from deployq.arithmetic.kernels.linear import (
    Sums,
    ZeroPoint,
    as_numpy,
    biases,
    conv_accumulate,
    conv_sums,
    from_oracle,
    to_numpy,
    zero_point_along,
)
from deployq.arithmetic.kernels.precision import exact_sums, weights
from deployq.arithmetic.oracle import conv_transpose as oracle
from deployq.arithmetic.weight_layout import inputs_first


def conv_transpose_sums(
    w: Tensor, w_zero_point: ZeroPoint, bias: Tensor | None, geometry: ConvTransposeGeometry
) -> Sums:
    """A transposed convolution, as ``linear.conv_sums``.

    An output cell sums at most the whole window, so the same bound holds.
    """
    zero_point, along = zero_point_along(w_zero_point, (-1, 1, 1, 1), w), (1, -1, 1, 1)
    ready = weights(w, zero_point, 0, biases(bias, along))
    top, left, bottom, right = geometry.margins()
    sides = left, right, top, bottom  # torch lists the last axis first

    def convolve(cells: Tensor, kernel: Tensor, offset: Tensor | None) -> Tensor:
        given, groups = inputs_first(kernel, geometry.groups), geometry.groups
        whole = F.conv_transpose2d(
            cells, given, None, geometry.strides, 0, 0, groups, geometry.dilations
        )
        longer = F.pad(whole, [max(side, 0) for side in sides])  # first: a cut may take all of it
        kept = F.pad(longer, [min(side, 0) for side in sides])
        return kept if offset is None else kept + offset

    def sums(x: Tensor, x_zero_point: int) -> Tensor:
        geometry.check_channels(x.shape[1], tuple(w.shape))
        geometry.output_size((x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]))
        acc = exact_sums(x, x_zero_point, ready, convolve)
        if acc is not None:
            return acc
        codes = as_numpy(x), x_zero_point, as_numpy(w), to_numpy(w_zero_point)
        return from_oracle(x, oracle.conv_transpose_accumulate(*codes, None, geometry), ready)

    return sums


def conv_transpose_accumulate(
    x: Tensor,
    x_zero_point: int,
    w: Tensor,
    w_zero_point: ZeroPoint,
    bias: Tensor | None,
    geometry: ConvTransposeGeometry,
) -> Tensor:
    """Accumulators of a transposed convolution; see the oracle."""
    return conv_transpose_sums(w, w_zero_point, bias, geometry)(x, x_zero_point).long()


CONVOLUTION_SUMS: dict[str, Callable[..., Sums]] = {
    "Conv": conv_sums,
    "ConvTranspose": conv_transpose_sums,
}
"""ONNX operator to its sums; all take (w, w_zero_point, bias, geometry)."""

CONVOLUTIONS: dict[str, Callable[..., Tensor]] = {
    "Conv": conv_accumulate,
    "ConvTranspose": conv_transpose_accumulate,
}
"""ONNX operator to its accumulators; all take (x, its zero point, w, its own, bias, geometry)."""
