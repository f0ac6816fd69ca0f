"""Candidates of a block: written, held to the target, and evaluated, one by one or together.

Together, the block's own layers run for each candidate, and from the first place behind them where
everything alive has a row for each sample, the candidates' samples are one batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, fx

from deployq.errors import DeployqError
from deployq.graph.partial_codes import PartialCodes, Values
from deployq.graph.sample_rows import SampleRows
from deployq.graph.sites import moved_from
from deployq_calibration.evolq.outputs import Judge
from deployq_calibration.evolq.sites import SearchBlock

Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Join:
    """Where the candidates of a block go on as one batch.

    Args:
        node: the first that they share.
        rows: of the network.
    """

    node: fx.Node
    rows: SampleRows


@dataclass(frozen=True)
class Candidates:
    """Evaluates candidates of a block.

    Args:
        block: whose genes are written; the last candidate stays in force.
        network: on codes.
        judge: of the searched batches.
        values: what is alive at the block's cut, for each batch of this rank by its number.
        join: None where every candidate runs alone.
    """

    block: SearchBlock
    network: PartialCodes
    judge: Judge
    values: Mapping[int, Values]
    join: Join | None

    def fitness(self, genes: Sequence[Tensor], best: float) -> list[float]:
        """Of each; infinite where the target cannot hold it.

        Args:
            best: see :meth:`Judge.suffix`.
        """
        if self.join is None or len(genes) == 1:
            return [self._alone(each, best) for each in genes]
        join, runs = self.join, dict[int, dict[int, Values | None]]()
        for place, each in enumerate(genes):
            if self._write(each):
                runs[place] = {i: self._middle(join, batch) for i, batch in self.values.items()}
        held = list(runs.values())

        def outputs(index: int, left: Sequence[int]) -> list[Outputs | None]:
            return self._together(join, [held[number][index] for number in left])

        together = self.judge.suffixes(len(held), outputs, best) if held else []
        found = dict(zip(runs, together, strict=True))
        return [found.get(place, math.inf) for place in range(len(genes))]

    def _middle(self, join: Join, values: Values) -> Values | None:
        """What is alive at the join; None where the target cannot run the block."""
        try:
            return self.network.run_between(self.block.cut, values, join.node)
        except DeployqError:
            return None

    def _together(self, join: Join, runs: Sequence[Values | None]) -> list[Outputs | None]:
        there = [run for run in runs if run is not None]
        if not there:
            return [None] * len(runs)
        try:
            outputs = self.network.run_from(join.node, join.rows.joined(there))
        except DeployqError:  # of one of them, or of sums that only all together exceed
            return [self._behind(join, run) for run in runs]
        parts = iter(join.rows.parted(outputs, there))
        return [None if run is None else next(parts) for run in runs]

    def _behind(self, join: Join, run: Values | None) -> Outputs | None:
        try:
            return None if run is None else self.network.run_from(join.node, run)
        except DeployqError:
            return None

    def _alone(self, genes: Tensor, best: float) -> float:
        if not self._write(genes):
            return math.inf
        return self.judge.suffix(self.block.cut, self.values, best)

    def _write(self, genes: Tensor) -> bool:
        """Put a candidate in force; false where the target refuses its integers, on every rank."""
        self.block.write(genes)
        if not self.block.holds():
            return False
        try:
            self.network.refresh(self.block.layers)
        except DeployqError:
            return False
        return True


def joins(
    blocks: Sequence[SearchBlock], module: fx.GraphModule, network: PartialCodes, rows: SampleRows
) -> dict[fx.Node, Join]:
    """Where the candidates of each block go on as one, by the block's cut; some have no such place.

    Nothing behind it reads what differs between them but for the samples: a layer's integers, a
    searched grid, a constant that a layer made.
    """
    nodes = list(module.graph.nodes)
    found = {}
    for block in blocks:
        reached = _reached(nodes, block)
        for node in nodes[nodes.index(block.last) + 1 :]:
            alive = network.alive(node)
            own = any(moved_from(module, each) in block.changed for each in alive)
            if rows.are_joined(alive) and not own and rows.constants.isdisjoint(alive & reached):
                found[block.cut] = Join(node, rows)
                break
    return found


def _reached(nodes: Sequence[fx.Node], block: SearchBlock) -> set[fx.Node]:
    found = set(block.changed)
    for node in nodes:
        if not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found
