"""What files show of numbers, activations and weights alike: types, zero points, scales."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq_targets.checks.forms import sharing
from deployq_targets.inference.fact import Fact, Facts, Seen, listed, span
from deployq_targets.tensors import zero_points
from deployq_targets.words import ScaleForm, Symmetry, ZeroPointWord

Grids = list[tuple[str, QParams]]
"""Where, and the parameters there."""


def type_facts(section: str, found: Iterable[tuple[str, QType]]) -> Facts:
    """Widths and types, the most frequent first."""
    seen = list(found)
    return {
        f"{section}.bits": listed(Seen(qtype.bits, where) for where, qtype in seen),
        f"{section}.types": listed(Seen(qtype.name, where) for where, qtype in seen),
    }


def zero_point_facts(section: str, grids: Grids) -> Facts:
    """A word where one says it, one number where there is one, else every code."""
    for word in (ZeroPointWord.ZERO, ZeroPointWord.MID, ZeroPointWord.RANGE_MIN):
        if all((grid.zero_point == zero_points(word, grid.qtype)[0]).all() for _, grid in grids):
            fixed = word is not ZeroPointWord.RANGE_MIN
            symmetry = Symmetry.SYMMETRIC if fixed else Symmetry.ANY
            return _stated(section, word.value, symmetry, "every tensor")
    seen = [Seen(int(code), where) for where, grid in grids for code in grid.zero_point.flat]
    ends = span(seen)
    if ends.value[0] == ends.value[1]:
        return _stated(section, ends.value, Symmetry.ANY, "every tensor")
    shown = f"{ends.value[0]} to {ends.value[1]}: {ends.shown}"
    return _stated(section, ZeroPointWord.ANY.value, Symmetry.ASYMMETRIC, shown)


def _stated(section: str, value: object, symmetry: Symmetry, shown: str) -> Facts:
    return {
        f"{section}.symmetry": Fact(symmetry.value, shown),
        f"{section}.zero_point": Fact(value, shown),
    }


def granularity(grids: Grids) -> Fact:
    """What shares a scale, the most frequent first."""
    return listed(Seen(sharing(grid.granularity).value, where) for where, grid in grids)


def scale_facts(section: str, grids: Grids) -> Facts:
    """Powers of two with their exponents, or any."""
    for where, grid in grids:
        mantissas, _ = np.frexp(grid.scale)
        if (mantissas != 0.5).any():
            off = np.asarray(grid.scale)[mantissas != 0.5].flat[0]
            return {f"{section}.scale_form": Fact(ScaleForm.ANY.value, f"{where}: {off:.9g}")}
    exponents = span(
        Seen(int(np.log2(scale)), where) for where, grid in grids for scale in grid.scale.flat
    )
    return {
        f"{section}.scale_form": Fact(ScaleForm.POW2.value, "every scale is a power of two"),
        f"{section}.scale_exp_range": exponents,
    }
