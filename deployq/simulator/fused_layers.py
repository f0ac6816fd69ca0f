"""Convolutions that give codes at once, without sums in memory, where that is shown to be exact.

The few channels that no constants hold for (see ``arithmetic.fused_step``) are computed as sums.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deployq.arithmetic.codes import Bounds, clip_range, scale_and_zero
from deployq.arithmetic.contract import Contract, Form, Kind
from deployq.arithmetic.fused_step import FusedStep, fused_step
from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.arithmetic.kernels.int8 import BYTES, HIGHEST, Int8Convolution, int8_codes
from deployq.arithmetic.kernels.linear import channels_last
from deployq.arithmetic.kernels.precision import FLOAT32_EXACT
from deployq.arithmetic.requant_words import BiasOrder, ZeroPointPlace
from deployq.arithmetic.rounding import Int64Array
from deployq.arithmetic.scales import layer_multiplier
from deployq.qgraph.nodes import Linear
from deployq.qparams import PerChannel, QParams
from deployq.simulator.biases import placed_bias
from deployq.simulator.fit import MOST, linear_shape
from deployq.simulator.linear_layers import linear_codes
from deployq.simulator.node_caches import kept_with

WORTH = 1 << 12
"""Cells of an output from which finding the constants pays."""

RARE = 8
"""At most one channel of so many may be computed as a sum."""


@dataclass(frozen=True, eq=False)
class FusedLayer:
    """A layer with constants for its channels.

    Args:
        geometry, bounds: of the node.
        convolve: to uint8 codes.
        rest: channels that it is wrong for, and the layer that they are.
    """

    geometry: ConvGeometry
    bounds: Bounds | None
    convolve: Int8Convolution
    rest: tuple[Int64Array, Linear] | None

    def codes(self, x: Tensor, qx: QParams, out: QParams, contract: Contract) -> Tensor:
        """As ``linear_codes``."""
        top, left, bottom, right = self.geometry.pads
        zero_point = int(qx.zero_point)
        padded = x
        if (top, left) != (bottom, right):
            padded = F.pad(x, (left, right, top, bottom), value=zero_point)
        codes = self.convolve(channels_last(padded), zero_point)
        low, high = clip_range(out, self.bounds)
        if (low, high) != (0, HIGHEST):
            codes.clamp_(low, high)
        if self.rest is not None:
            channels, layer = self.rest
            own = x if self.geometry.groups == 1 else channels_last(x[:, channels])
            codes[:, channels] = linear_codes(layer, own, qx, out, contract)
        return codes


_FOUND: dict[int, dict[tuple[QParams, QParams, Form], FusedLayer | None]] = {}
"""By parameters of input and output, and the form; see ``node_caches``."""


def fused_layer(
    node: Linear, x: Tensor, qx: QParams, out: QParams, contract: Contract
) -> FusedLayer | None:
    """The layer in one pass; None where it has none, or is too small for one."""
    form = contract.form(node.form_name)
    if not (_is_of_bytes(node, x, out) and _is_float32(form, contract)):
        return None
    if prod(linear_shape(node, MOST, tuple(x.shape))) < WORTH * len(node.weight):
        return None
    found = kept_with(node, _FOUND)
    if (qx, out, form) not in found:
        found[qx, out, form] = _fused(node, qx, out, contract)
    return found[qx, out, form]


def _is_of_bytes(node: Linear, x: Tensor, out: QParams) -> bool:
    weights = node.weight_qparams
    return (
        node.op_type == "Conv" and x.dtype in BYTES and torch_dtype(out.qtype) == torch.uint8
        and torch_dtype(weights.qtype) == torch.int8 and not weights.zero_point.any()
    )  # fmt: skip


def _is_float32(form: Form, contract: Contract) -> bool:
    return (
        form.kind is Kind.FLOAT32 and form.zero_point in (None, ZeroPointPlace.AFTER_ROUNDING)
        and contract.bias_order is BiasOrder.BEFORE_SCALE
        and contract.accumulator.high >= FLOAT32_EXACT
    )  # fmt: skip


def _fused(node: Linear, qx: QParams, out: QParams, contract: Contract) -> FusedLayer | None:
    form, channels = contract.form(node.form_name), len(node.weight)
    scales = qx.scale[()], node.weight_qparams.scale
    placed = placed_bias(node, scales, contract)
    if placed.reals is not None:
        return None
    bias = np.zeros(channels, np.int64) if placed.steps is None else placed.steps.astype(np.int64)
    reach = _reach(node, qx)
    if max(np.abs(limit).max() for limit in reach) + np.abs(bias).max() >= FLOAT32_EXACT:
        return None
    real = layer_multiplier(1, 0, *scales, out, form).astype(np.float32)
    step = fused_step(np.broadcast_to(real, channels), bias, reach, out)
    wrong = np.flatnonzero(~step.holds)
    if not _may_be_apart(node, wrong):
        return None
    convolve = _convolution(node, step, out)
    rest = (wrong, _part(node, wrong)) if wrong.size else None
    return None if convolve is None else FusedLayer(node.geometry, node.bounds, convolve, rest)


def _convolution(node: Linear, step: FusedStep, out: QParams) -> Int8Convolution | None:
    pads = node.geometry.pads
    padding = (pads[0], pads[1]) if pads[:2] == pads[2:] else (0, 0)
    weight, zero_point = torch.tensor(node.weight, dtype=torch.int8), scale_and_zero(out, "out")[1]
    return int8_codes(weight, step, zero_point, node.geometry, padding)


def _reach(node: Linear, qx: QParams) -> tuple[Int64Array, Int64Array]:
    """The least and the largest sum of each channel, without the bias."""
    weights = node.weight.astype(np.int64).reshape(len(node.weight), -1)
    codes = qx.qtype.container
    least, most = codes.qmin - int(qx.zero_point), codes.qmax - int(qx.zero_point)
    positive, negative = weights.clip(min=0).sum(1), weights.clip(max=0).sum(1)
    return positive * least + negative * most, positive * most + negative * least


def _may_be_apart(node: Linear, wrong: Int64Array) -> bool:
    """Few channels, of a convolution that a part of can be computed alone."""
    groups, (outputs, inputs) = node.geometry.groups, node.weight.shape[:2]
    alone = groups == 1 or (groups == outputs and inputs == 1)
    return not wrong.size or (alone and wrong.size * RARE <= outputs)


def _part(node: Linear, channels: Int64Array) -> Linear:
    """The layer of some of its channels."""
    params, groups = node.weight_qparams, node.geometry.groups
    if isinstance(params.granularity, PerChannel):
        params = QParams(params.qtype, params.scale[channels], granularity=params.granularity)
    return replace(
        node, weight=node.weight[channels], weight_qparams=params,
        bias=None if node.bias is None else node.bias[channels],
        geometry=replace(node.geometry, groups=1 if groups == 1 else len(channels)),
    )  # fmt: skip
