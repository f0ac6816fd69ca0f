"""Codes are clipped at another place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from deployq.divergence.facts import Cause
from deployq.divergence.layer import Layer
from deployq.divergence.substitutions.case import Case, Change
from deployq.qgraph.nodes import Bounds


def changes(case: Case) -> Iterator[Change]:
    """The type's range and the bounds of a Relu or Clip, before the zero point and on the sums.

    Nothing where the value before the last clip cannot be had.
    """
    layer, wide = case.layer, case.layer.wide()
    if not torch.equal(layer.clipped(wide), layer.codes()):
        return
    zero = int(layer.out.zero_point)

    def early(limits: Bounds) -> Tensor:
        return (wide - zero).clamp(*limits) + zero

    def saturated_early() -> Tensor:
        return layer.clipped(early(layer.range))

    yield Change(Cause.CLIP, "saturated before the zero point is added", saturated_early)
    bounds = layer.node.bounds
    if bounds is None:
        return

    def bounded_early() -> Tensor:
        return early(bounds).clamp(*layer.range)

    yield Change(Cause.CLIP, "Relu or Clip before the zero point is added", bounded_early)
    if layer.sums is not None and layer.addend is None:
        yield Change(Cause.CLIP, "Relu or Clip on the sums", lambda: _on_sums(layer, bounds))


def _on_sums(layer: Layer, bounds: Bounds) -> Tensor:
    """The bounds in units of the sums, rounded, and none on the codes."""
    assert layer.sums is not None
    zero = int(layer.out.zero_point)
    low, high = (torch.round((code - zero) / layer.multiplier).long() for code in bounds)
    acc = layer.with_bias(layer.sums).clamp(low, high)
    return replace(layer, node=replace(layer.node, bounds=None)).finished(acc)
