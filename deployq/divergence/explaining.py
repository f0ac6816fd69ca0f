"""Name the cause of a difference by substitution: one change at a time, on A's codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from deployq.divergence.basis import Basis, Fed
from deployq.divergence.facts import Explanation, Tried
from deployq.divergence.matching import Matched
from deployq.divergence.sides import Array, Codes, Side
from deployq.divergence.substitutions import Case, all_changes
from deployq.divergence.substitutions.case import Key
from deployq.errors import DeployqError
from deployq.qgraph.nodes import Node


def explain_layers(
    a: Side,
    b: Side,
    matched: Matched,
    tensors: Sequence[str],
    batches: Callable[[], Iterator[Codes]],
    progress: Callable[[str], None],
) -> tuple[Explanation, ...]:
    """Substitute the layers of ``tensors``, in their order.

    Every batch is run anew: what all layers compute is not kept from the comparison.
    """
    if not tensors:
        return ()
    basis = Basis(a, b, matched)
    trials = [_Trial(basis, tensor) for tensor in tensors]
    for batch in batches():
        fed = basis.feed(batch)
        for trial in trials:
            trial.add(fed)
        progress("explain")
    return tuple(trial.result() for trial in trials)


@dataclass
class _Trial:
    """Counts of one layer over the batches."""

    basis: Basis
    tensor: str
    remark: str = ""
    batches: int = 0
    codes: int = 0
    different: int = 0
    left: dict[Key, int] = field(default_factory=dict)
    seen: dict[Key, int] = field(default_factory=dict)
    contains: dict[Key, Key | None] = field(default_factory=dict)

    @property
    def node(self) -> Node | None:
        return self.basis.node(self.tensor)

    def add(self, fed: Fed) -> None:
        """One batch: how many codes each change leaves different."""
        unchanged, wanted = fed.unchanged.get(self.tensor), fed.wanted.get(self.tensor)
        if unchanged is None or wanted is None:
            self.remark = f"{self.basis.b.label} cannot be fed A's codes there as it stands"
            return
        self.batches += 1
        self.codes += wanted.size
        self.different += _apart(unchanged, wanted)
        case = self._case(fed, unchanged)
        for change in all_changes(case) if case is not None else ():
            try:
                codes = change.codes().numpy()
            except DeployqError:  # the change has no meaning for this layer's numbers
                continue
            self.left[change.key] = self.left.get(change.key, 0) + _apart(codes, wanted)
            self.seen[change.key] = self.seen.get(change.key, 0) + 1
            self.contains[change.key] = change.contains

    def _case(self, fed: Fed, unchanged: Array) -> Case | None:
        """None, and a remark, where the arithmetic as it stands does not give the side's codes."""
        if self.node is None:
            self.remark = "no integer operator computes it"
            return None
        missing = [name for name in self.node.inputs if name not in fed.read]
        if missing:
            self.remark = f"it reads {missing[0]}, which the sides do not share"
            return None
        case = self.basis.case(self.tensor, self.node, fed)
        if case.kernels is None and _apart(case.layer.codes().numpy(), unchanged):
            self.remark = f"{self.basis.base.label} does not compute it as its contract says"
            return None
        return case

    def result(self) -> Explanation:
        """The counts, frozen; without a difference to reproduce nothing is explained."""
        node = self.node
        whole = [key for key, n in self.seen.items() if n == self.batches]
        if not self.different and not self.remark:
            self.remark = "fed A's codes it does not differ: what differs lies before it"
        whole = [] if self.remark else whole
        tried = (Tried(*key, self.left[key]) for key in whole if self._is_least(key))
        return Explanation(
            self.tensor,
            "" if node is None else f"{node.op_type} {node.name}",
            self.basis.base.label,
            self.basis.other.label,
            self.codes,
            self.different,
            tuple(sorted(tried, key=lambda one: one.different)),
            len(whole),
            self.remark,
        )

    def _is_least(self, key: Key) -> bool:
        """False for a change of which a part alone gives every code."""
        part = self.contains[key]
        return part is None or self.left.get(part) != 0


def _apart(codes: Array, wanted: Array) -> int:
    return int(np.count_nonzero(codes != wanted))
