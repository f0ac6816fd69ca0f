"""Averages of captured weights as prepared models: more levels, or the levels of before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import LinearCall
from deployq.graph.plan import Plan
from deployq.qtypes import QType
from deployq.train.folded_means import SMALLEST_FACTOR


def multi_level_type(qtype: QType, captures: int) -> QType:
    """The narrowest type, of the same kind, that holds every sum of as many codes.

    Ternary codes of K captures sum to 2K + 1 levels: 3 captures fit 3 bits, 7 fit 4, 15 fit 5.

    Args:
        qtype: of one capture.
        captures: K, at least 1.
    """
    bits = qtype.bits
    while True:
        wide = replace(qtype, bits=bits)
        if wide.qmin <= captures * qtype.qmin and wide.qmax >= captures * qtype.qmax:
            return wide
        bits += 1


def multi_level_quantizer(quantizer: FakeQuantize, step: Tensor, captures: int) -> FakeQuantize:
    """The grid of the sums: a step of ``step / captures``, on no lattice of a target.

    Args:
        quantizer: of one capture.
        step: of one capture.
        captures: K.
    """
    qtype = multi_level_type(quantizer.qtype, captures)
    shape = tuple(quantizer.scale.shape)
    found = FakeQuantize(qtype, quantizer.granularity, shape, symmetric=True).to(step.device)
    found.set_qparams(step / captures, found.zero_point)
    return found


@torch.no_grad()
def set_seen_weight(call: LinearCall, wanted: Tensor) -> None:
    """Write the float weight whose quantizer then sees ``wanted``, to one or two units in the
    last place.

    Where gamma / sigma is folded into the weight, it is divided out; channels that it turns off
    become zero.

    Args:
        call: of the layer.
        wanted: float64, of the shape of the weight.
    """
    factor = call.unit.scaled_weight(torch.ones_like(call.weight), call.norm).double()
    turned_off = factor.abs() <= SMALLEST_FACTOR
    call.weight.copy_(torch.where(turned_off, 0.0, wanted / factor))


def with_weight_types(plan: Plan, types: Mapping[str, QType]) -> Plan:
    """The plan of the same network with weights of other types.

    Args:
        types: by layer name, of every layer.
    """
    layers = (
        replace(
            layer, bits=types[layer.name].bits, signed=types[layer.name].signed,
            narrow_range=types[layer.name].narrow_range,
        )
        for layer in plan.layers
    )  # fmt: skip
    return replace(plan, layers=tuple(layers))
