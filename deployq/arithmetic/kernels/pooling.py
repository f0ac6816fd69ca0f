"""Average and max pools over (N, C, H, W) codes; ``oracle.pooling`` in torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deployq.arithmetic.codes import Bounds, code_offset, scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.geometry import PoolGeometry
from deployq.arithmetic.kernels.codes import (
    centred,
    nearest,
    saturate,
    scale_tensor,
    to_codes,
    to_tensor,
)
from deployq.arithmetic.kernels.multiplier import multiply
from deployq.arithmetic.kernels.precision import FLOAT32_EXACT
from deployq.arithmetic.requant_words import Averaging, ZeroPointPlace
from deployq.arithmetic.scales import (
    check_kept,
    kernel_zero,
    mean_constant,
    mean_multiplier,
    mean_real,
    moved_zero,
)
from deployq.qparams import QParams


def global_average_pool(
    x: Tensor, qx: QParams, out: QParams, form: Form, *, bounds: Bounds | None = None
) -> Tensor:
    """Codes of the mean over H and W; see ``oracle.pooling.global_average_pool``."""
    rescale = pick("GlobalAveragePool", _GLOBAL, form)
    count = torch.tensor(x.shape[2] * x.shape[3], device=x.device)
    total = _whole_sum(x) - count * scale_and_zero(qx, "activation")[1]
    return to_codes(rescale(total, count, qx, out, form), out, bounds)


def average_pool(
    x: Tensor,
    qx: QParams,
    out: QParams,
    form: Form,
    geometry: PoolGeometry,
    *,
    bounds: Bounds | None = None,
) -> Tensor:
    """Codes of the mean over each window; see ``oracle.pooling.average_pool``."""
    if geometry.covers((x.shape[2], x.shape[3])):
        return global_average_pool(x, qx, out, form, bounds=bounds)
    pool = pick("AveragePool", _AVERAGE, form)
    return pool(x, qx, out, form, geometry, bounds)


def max_pool(x: Tensor, geometry: PoolGeometry) -> Tensor:
    """Highest code below each window; see ``oracle.pooling.max_pool``."""
    windows = _windows(x, geometry, torch.iinfo(x.dtype).min)
    result = next(windows)
    for cells in windows:
        result = torch.maximum(result, cells)
    return result.clone()


def _windows(x: Tensor, geometry: PoolGeometry, fill: int) -> Iterator[Tensor]:
    """For each cell of the kernel in row order, the (N, C, H', W') inputs below it."""
    top, left, bottom, right = geometry.pads
    rows, columns = geometry.output_size((x.shape[2], x.shape[3]))
    padded = F.pad(x, (left, right, top, bottom), value=fill)
    for i, j in np.ndindex(*geometry.kernel):
        below = padded[:, :, i :: geometry.strides[0], j :: geometry.strides[1]]
        yield below[:, :, :rows, :columns]


def _sum(x: Tensor, geometry: PoolGeometry) -> Tensor:
    """One addition a kernel cell, in row order; adding a padding zero changes no sum."""
    windows = _windows(x, geometry, 0)
    total = next(windows).clone()
    for cells in windows:
        total += cells
    return total


def _whole_sum(x: Tensor) -> Tensor:
    """(N, C, 1, 1) sums of codes over H and W, int64; through float32 where it holds them."""
    exact = x.element_size() == 1 and 255 * x.shape[2] * x.shape[3] < FLOAT32_EXACT
    codes = x.float() if exact else x.long()
    return codes.sum(dim=(2, 3), keepdim=True).long()


def _divisors(x: Tensor, geometry: PoolGeometry) -> Tensor:
    """(H', W') int64: what each position divides by."""
    size = (x.shape[2], x.shape[3])
    rows, columns = geometry.output_size(size)
    positions = np.ndindex(rows, columns)
    counts = [geometry.divisor(size, row, column) for row, column in positions]
    return torch.tensor(counts, device=x.device).reshape(rows, columns)


def _global_float32(total: Tensor, count: Tensor, qx: QParams, out: QParams, form: Form) -> Tensor:
    cells, zero = count.cpu().numpy(), int(out.zero_point)
    real = mean_real(qx, out, cells, form).astype(np.float32)
    if form.zero_point is ZeroPointPlace.APART:
        raw = total + count * scale_and_zero(qx, "input")[1]
        constant = to_tensor(mean_constant(qx, out, cells, real), total)
        return nearest(raw.float() * to_tensor(real, total) + constant) - zero
    scaled = total.float() * to_tensor(real, total)
    if form.zero_point is not ZeroPointPlace.BEFORE_ROUNDING:
        return nearest(scaled)
    return nearest(scaled + float(zero)) - zero


def _mean_exact(total: Tensor, count: Tensor, qx: QParams, out: QParams, form: Form) -> Tensor:
    sx, sy = (scale_tensor(q, total, "operand").double() for q in (qx, out))
    return nearest(total.double() * sx / (count * sy))


def _mean_fixed(total: Tensor, count: Tensor, qx: QParams, out: QParams, form: Form) -> Tensor:
    raw = total + count * scale_and_zero(qx, "input")[1]
    if form.averaging in (Averaging.KEPT_SUM, Averaging.RAW_CODES):
        check_kept(qx, out)
    if form.averaging is Averaging.RAW_CODES:
        half = torch.div(count, 2, rounding_mode="floor")
        mean = raw.sign() * torch.div(raw.abs() + half, count, rounding_mode="floor")
        return mean - scale_and_zero(out, "output")[1]
    chosen = mean_multiplier(qx, out, count.cpu().numpy(), form)
    if form.zero_point is ZeroPointPlace.APART:
        return multiply(raw, chosen, form.rounding) - moved_zero(qx, out, form)
    return multiply(total, chosen, form.rounding)


def _average_float32(
    x: Tensor,
    qx: QParams,
    out: QParams,
    form: Form,
    geometry: PoolGeometry,
    bounds: Bounds | None,
) -> Tensor:
    sx, sy = scale_tensor(qx, x, "input"), scale_tensor(out, x, "output")
    total = _sum(centred(x, qx).float() * sx, geometry)
    mean = total / _divisors(x, geometry).float()
    value = nearest(mean / sy + float(kernel_zero(out, form))) - code_offset(out, form)
    return saturate(value, out, bounds)


def _average_integer(
    x: Tensor,
    qx: QParams,
    out: QParams,
    form: Form,
    geometry: PoolGeometry,
    bounds: Bounds | None,
) -> Tensor:
    total, count = _sum(centred(x, qx), geometry), _divisors(x, geometry)
    return to_codes(_GLOBAL[form.kind](total, count, qx, out, form), out, bounds)


_Mean = Callable[[Tensor, Tensor, QParams, QParams, Form], Tensor]
_Average = Callable[[Tensor, QParams, QParams, Form, PoolGeometry, "Bounds | None"], Tensor]
_GLOBAL: dict[Kind, _Mean] = {
    Kind.EXACT: _mean_exact,
    Kind.FLOAT32: _global_float32,
    Kind.FIXED: _mean_fixed,
    Kind.SHIFT: _mean_fixed,
}
_AVERAGE: dict[Kind, _Average] = {
    Kind.EXACT: _average_integer,
    Kind.FLOAT32: _average_float32,
    Kind.FIXED: _average_integer,
    Kind.SHIFT: _average_integer,
}
