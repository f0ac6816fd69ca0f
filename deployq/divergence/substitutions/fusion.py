"""A runtime runs the layer as another one: without its Relu, or in other kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from deployq.divergence.facts import Cause
from deployq.divergence.substitutions.case import Case, Change, Key

EXACT_SUMS: Key = (Cause.FUSION, "exact sums in place of float", None)
"""The change of a layer in float that leaves all but the float kernel as it is."""


def changes(case: Case) -> Iterator[Change]:
    """A Relu or Clip that is dropped or taken in, float kernels, and integer kernels for float."""
    layer, bounds = case.layer, case.layer.node.bounds
    if bounds is not None:
        dropped = replace(layer, node=replace(layer.node, bounds=None))
        yield Change(Cause.FUSION, "Relu or Clip dropped", dropped.codes)
    if case.other_bounds is not None and case.other_bounds != bounds:
        taken = replace(layer, node=replace(layer.node, bounds=case.other_bounds))
        low, high = case.other_bounds
        yield Change(Cause.FUSION, f"Relu or Clip to codes {low}..{high} taken in", taken.codes)
    if case.kernels is not None:
        yield Change(*EXACT_SUMS[:2], layer.codes)
        kernel = replace(layer, contract=case.kernels)
        yield Change(Cause.FUSION, "integer kernels in place of float", kernel.codes)
    unoptimised = case.unoptimised
    if unoptimised is not None:

        def computed() -> Tensor:
            return unoptimised

        yield Change(Cause.FUSION, "float kernels, as un-optimised", computed)
