"""LayerNormalization and RMSNormalization over the last axis of codes; ``oracle.row_norms``."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.arithmetic.codes import Bounds, scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.kernels.codes import nearest, saturate, scale_tensor
from deployq.arithmetic.kernels.requantize import requantize
from deployq.arithmetic.kernels.row_shares import integer_root, row_shares
from deployq.arithmetic.requant_words import Normalization
from deployq.arithmetic.row_norms import RowNorm, epsilon_steps, row_integers
from deployq.qparams import FloatArray, QParams


def normalize(
    x: Tensor,
    qx: QParams,
    out: QParams,
    form: Form,
    norm: RowNorm,
    *,
    bounds: Bounds | None = None,
) -> Tensor:
    """Codes of the normalized rows; see ``oracle.row_norms.normalize``."""
    if form.normalization is Normalization.INTEGER:
        return pick(norm.op_type, {Kind.FIXED: _integer}, form)(x, qx, out, form, norm, bounds)
    row_integers(norm, qx, out)
    parts, length = _centred(x, qx, norm), x.shape[-1]
    squares = (parts * parts).sum(-1, keepdim=True).double()
    values = parts.double() / torch.sqrt((squares + epsilon_steps(norm, qx)) / length)
    values = values * _there(norm.scale, x)
    values = values if norm.bias is None else values + _there(norm.bias, x)
    steps = nearest(values.float() / scale_tensor(out, x, norm.op_type))
    return saturate(steps + scale_and_zero(out, norm.op_type)[1], out, bounds)


def _integer(
    x: Tensor, qx: QParams, out: QParams, form: Form, norm: RowNorm, bounds: Bounds | None
) -> Tensor:
    known = row_integers(norm, qx, out)
    parts = _centred(x, qx, norm)
    squares = (parts * parts).sum(-1, keepdim=True) << 2 * known.lift
    shares = row_shares(parts, integer_root(squares + known.epsilon), known.lift)
    signs = torch.as_tensor(known.signs, device=x.device)
    return requantize(
        shares * signs, known.step, known.scales, out, form,
        channel_axis=-1, bounds=bounds, late=known.bias,
    )  # fmt: skip


def _centred(x: Tensor, qx: QParams, norm: RowNorm) -> Tensor:
    codes = x.long()
    if norm.centred:
        return codes * x.shape[-1] - codes.sum(-1, keepdim=True)
    return codes - scale_and_zero(qx, norm.op_type)[1]


def _there(values: FloatArray, like: Tensor) -> Tensor:
    return torch.as_tensor(values, device=like.device).double()
