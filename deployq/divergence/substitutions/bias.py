"""The bias is rounded to its codes in another way, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.addends import addend_ratio
from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.kernels.codes import centred, nearest
from deployq.arithmetic.multiplier import DOUBLE_ROUNDINGS
from deployq.arithmetic.rounding import round_real
from deployq.divergence.facts import Cause
from deployq.divergence.layer import Layer
from deployq.divergence.substitutions.case import Array, Case, Change
from deployq.qgraph.nodes import Linear

ONCE = [m for m in Rounding if m not in (*DOUBLE_ROUNDINGS, Rounding.NATURAL_PLUS_ONE)]
"""Modes that round a real number."""


def changes(case: Case) -> Iterator[Change]:
    """The other side's codes where each is at most one away, every rounding of a bias that a file
    holds as reals, and these reals themselves.
    """
    layer, own = case.layer, case.layer.bias
    if own is None:
        return
    other, real = case.other_bias, case.real_bias
    if other is not None and other.shape == own.shape and np.abs(other - own).max() == 1:
        count = int((other != own).sum())
        detail = f"{count} of {own.size} bias codes one away"
        yield Change(Cause.BIAS, detail, _with_bias(layer, other).codes)
    if real is None:
        return
    for mode in ONCE:
        rounded = _with_bias(layer, round_real(real, mode))
        yield Change(Cause.BIAS, f"bias rounded {mode}", rounded.codes)
    if layer.form.kind in (Kind.EXACT, Kind.FLOAT32):
        yield Change(Cause.BIAS, "bias kept as reals", partial(_unrounded, layer, real))


def _with_bias(layer: Layer, bias: Array) -> Layer:
    return replace(layer, node=replace(cast(Linear, layer.node), bias=bias))


def _unrounded(layer: Layer, real: Array) -> Tensor:
    assert layer.sums is not None
    acc = layer.sums.acc.double() + layer.sums.along(torch.from_numpy(real))
    value = acc * layer.multiplier
    if layer.addend is not None:
        ratio = addend_ratio(layer.addend[1], layer.out, Form(Kind.EXACT))
        value += centred(*layer.addend).double() * float(ratio)
    return layer.clipped(nearest(value) + int(layer.out.zero_point))
