"""Counting codes: how many were compared, how many differ, by how much, and how telling that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq.arithmetic.contract import Contract
from deployq.arithmetic.oracle.lookup import lookup_table
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import changes_container
from deployq.qgraph.nodes import Lookup, Move, Node, Quantize

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerRow:
    """One compared tensor.

    Args:
        tensor: its name.
        compared: codes compared.
        different: codes that differ.
        max_lsb: largest difference.
        far_from_tie: differing codes whose value was 1e-3 LSB or more from a rounding tie.
        at_tie: codes, differing or not, whose value was within 3e-5 LSB of a tie.
        distinct: different values that the reference's codes took.
        wanted_distinct: at least so many make the comparison telling.
        by_lsb: (size of the difference, codes that differ by it), ascending; the last size,
            :data:`MOST_LSB`, stands for all from there on. Empty where nothing differs.
        noise: what the limits of a run in float are multiplied by (see :func:`float_noise`).
    """

    tensor: str
    compared: int
    different: int
    max_lsb: int
    far_from_tie: int
    distinct: int
    wanted_distinct: int
    by_lsb: tuple[tuple[int, int], ...] = ()
    at_tie: int = 0
    noise: int = 1

    @property
    def exact_ties(self) -> int:
        """Values at a tie beyond those that lie there by chance.

        Scales on a lattice, sums of few codes and interpolation put many values exactly on a tie,
        where the last bit of a float run decides.
        """
        return max(0, self.at_tie - int(2 * AT_TIE_LSB * self.compared))


MOST_LSB = 8
"""Larger differences are counted together."""
TIE_LSB = 1e-3
"""A value this near a tie may go either way in float32 (law 12 b), of codes of up to 8 bits."""
AT_TIE_LSB = 2**-15
"""Two last bits of a float32 near 255, and half the resolution of steps (``STEP_BITS``): a step
that is at a tie may be this far from it. By chance 6e-5 of all values are.
"""


def float_noise(bits: int) -> int:
    """How much more of an LSB the last bit of a float32 is than for codes of 8 bits.

    A float32 has 24 bits, whatever the width of the code that it becomes. Beyond 16 bits the limits
    stay: more would allow anything.
    """
    return 1 << min(max(0, bits - 8), 8)


@dataclass
class Tally:
    """Running counts of one tensor over batches."""

    tensor: str
    wanted_distinct: int
    noise: int = 1
    compared: int = 0
    different: int = 0
    max_lsb: int = 0
    far_from_tie: int = 0
    at_tie: int = 0
    values: set[int] = field(default_factory=set)
    by_lsb: Counter[int] = field(default_factory=Counter)

    def add(self, reference: Array, found: Array, steps: Array | None = None) -> None:
        """Count one batch.

        Args:
            reference, found: codes of one shape, on one zero point.
            steps: the reference's value before rounding, in LSB; tells how near a tie each was.
        """
        gap = np.abs(reference.astype(np.int64) - found.astype(np.int64))
        self.compared += gap.size
        self.max_lsb = max(self.max_lsb, int(gap.max(initial=0)))
        self.values.update(_distinct(reference))
        wrong = gap > 0
        self.different += int(wrong.sum())
        self.by_lsb.update(np.minimum(gap[wrong], MOST_LSB).tolist())
        if steps is not None:
            off = np.abs(steps - np.floor(steps) - 0.5)
            self.at_tie += int((off < AT_TIE_LSB).sum())
            self.far_from_tie += int((off[wrong] >= self.noise * TIE_LSB).sum())

    def row(self) -> LayerRow:
        return LayerRow(
            self.tensor, self.compared, self.different, self.max_lsb, self.far_from_tie,
            len(self.values), self.wanted_distinct, tuple(sorted(self.by_lsb.items())), self.at_tie,
            self.noise,
        )  # fmt: skip


def _distinct(codes: Array) -> list[int]:
    """The values that occur; counted, not sorted, because a layer has millions of codes."""
    low = int(codes.min())
    present = np.bincount(codes.ravel().astype(np.int64) - low)
    return (np.flatnonzero(present) + low).tolist()


ENOUGH = 32
"""Distinct codes that make a layer's comparison telling; half its range if that is less."""


def wanted_distinct(graph: IntegerGraph, contract: Contract) -> dict[str, int]:
    """How many distinct codes each code tensor should take (law 12).

    Nothing is asked of inputs, which take what the data has, of codes that are moved or change
    their container, and of codes that are saturated to a narrower range right after. Where a table
    is looked up, half of what stands in it: on a wide grid, a sigmoid is 0 or 1 nearly everywhere.
    """
    saturated = {n.inputs[0] for n in graph.nodes if n.op_type == "Clip"}
    given = set(graph.inputs)
    inputs = {n.output for n in graph.nodes if isinstance(n, Quantize) and n.inputs[0] in given}
    makers = {node.output: node for node in graph.nodes}
    wanted = {}
    for node in graph.nodes:
        moved = (isinstance(node, Move) and node.op_type != "Clip") or node.op_type == "MaxPool"
        moved = moved or changes_container(graph, node)
        if not node.writes_codes:
            continue
        if moved or node.output in inputs or node.output in saturated:
            wanted[node.output] = 0
            continue
        wanted[node.output] = min(ENOUGH, _reachable(graph, node, makers, contract) // 2)
    return wanted


def _reachable(
    graph: IntegerGraph, node: Node, makers: Mapping[str, Node], contract: Contract
) -> int:
    """How many codes a node can give; one that saturates a table's codes gives no others."""
    qparams = graph.qparams[node.output]
    low, high = node.bounds or (qparams.qtype.qmin, qparams.qtype.qmax)
    source = makers.get(node.inputs[0]) if node.op_type == "Clip" else node
    if not isinstance(source, Lookup):
        return high - low + 1
    form, qx = contract.form(source.op_type), graph.qparams[source.inputs[0]]
    table = lookup_table(source.op_type, qx, qparams, params=source.params, form=form)
    return len(np.unique(table.clip(low, high)))
