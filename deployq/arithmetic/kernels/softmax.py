"""Softmax over the last axis of codes; ``oracle.softmax`` in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.codes import Bounds, scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.exponentials import (
    integer_exponentials,
    is_table,
    scaled_exponentials,
    whole_inverse,
)
from deployq.arithmetic.kernels.codes import in_order_sum, nearest, saturate, scale_tensor, to_codes
from deployq.arithmetic.kernels.litert_softmax import litert_softmax
from deployq.arithmetic.kernels.requantize import requantize
from deployq.arithmetic.kernels.row_shares import row_shares
from deployq.arithmetic.pairs import LEVELS, check_grids, is_pair, second_shares
from deployq.arithmetic.requant_words import LITERT_SHARES, Softmax
from deployq.arithmetic.row_shares import SHARE_STEP
from deployq.qparams import QParams

TABLE_BITS = 16
"""Widest codes whose differences index a table."""


def softmax(
    x: Tensor, qx: QParams, out: QParams, form: Form, *, bounds: Bounds | None = None
) -> Tensor:
    """Codes of the shares along the last axis; see ``oracle.softmax.softmax``."""
    wide = x.int() if x.element_size() < 4 else x.long()
    below = wide.amax(-1, keepdim=True) - wide
    if form.softmax in LITERT_SHARES:
        return litert_softmax(below, qx, out, form.softmax, bounds)
    if form.softmax is Softmax.INTEGER:
        return pick("Softmax", _INTEGER, form)(below, qx, out, form, bounds)
    if form.softmax is Softmax.PAIRS and is_pair(x.shape):
        return saturate(_pairs(wide, qx, out), out, bounds)
    if form.softmax is not Softmax.SCALED_TABLE or not is_table(qx, out):
        powers = _exponentials(below, qx)
        shares = powers.div_(in_order_sum(powers)).float()
        return to_codes(shares.div_(scale_tensor(out, x, "Softmax")), out, bounds)
    table = torch.from_numpy(scaled_exponentials(qx, x.shape[-1])).to(x.device)[below.long()]
    values = nearest(table * float(whole_inverse(out)) / in_order_sum(table))
    return saturate(values + scale_and_zero(out, "Softmax")[1], out, bounds)


def _exponentials(below: Tensor, qx: QParams) -> Tensor:
    """``exp(-s below)`` in float64; the processor's own values on every device."""
    step = -float(scale_and_zero(qx, "Softmax")[0])
    if below.device.type == "cpu" or qx.qtype.bits > TABLE_BITS:
        return torch.exp(below.double() * step)
    table = torch.exp(torch.arange(1 << qx.qtype.bits).double() * step)
    return table.to(below.device)[below.long()]


def _pairs(x: Tensor, qx: QParams, out: QParams) -> Tensor:
    check_grids(qx, out)
    shares = torch.from_numpy(second_shares(qx)).to(x.device)
    share = shares[(x[..., 1] - x[..., 0] + LEVELS).long()]
    return torch.stack((LEVELS - share, share), -1)


def _integer(below: Tensor, qx: QParams, out: QParams, form: Form, bounds: Bounds | None) -> Tensor:
    table = torch.from_numpy(integer_exponentials(qx, below.shape[-1]))
    parts = table.to(below.device)[below.long()]
    shares = row_shares(parts, parts.sum(-1, keepdim=True), 0)
    return requantize(shares, SHARE_STEP, np.float32(1), out, form, channel_axis=-1, bounds=bounds)


_INTEGER = {Kind.FIXED: _integer, Kind.SHIFT: _integer}
