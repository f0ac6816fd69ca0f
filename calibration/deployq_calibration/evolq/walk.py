"""The walk: passes over the blocks, a small search in each, and what watches it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from deployq.errors import UnsupportedError
from deployq.graph.partial_codes import PartialCodes
from deployq_calibration.evolq.checkpoint import State, load_state, save_state
from deployq_calibration.evolq.evolved import Evolved
from deployq_calibration.evolq.genes import POWERS_CHANGED, PowerGenes
from deployq_calibration.evolq.outputs import Cuts, Judge
from deployq_calibration.evolq.population import Member, evolve
from deployq_calibration.evolq.settings import EvolveSettings, Order
from deployq_calibration.evolq.sites import SearchBlock

Advance = Callable[[str], None]


@dataclass(frozen=True)
class Standing:
    """Where a walk may start.

    Args:
        fitness: of the batches that are searched on.
        held_back: of those that watch, one number or none.
        genes: of each block, in graph order.
    """

    fitness: float
    held_back: tuple[float, ...]
    genes: tuple[Tensor, ...]


class Walk:
    """Passes over blocks, each searched on its own.

    Args:
        blocks: in graph order.
        network: on codes.
        judge, watcher: of the batches that are searched on, and of those that only watch.
        settings: sizes of the search.
    """

    def __init__(
        self,
        blocks: Sequence[SearchBlock],
        network: PartialCodes,
        judge: Judge,
        watcher: Judge,
        settings: EvolveSettings,
    ) -> None:
        self.blocks, self.network, self.settings = blocks, network, settings
        self.judge, self.watcher = judge, watcher
        self.draw = Generator().manual_seed(settings.seed)

    def standing(self) -> Standing:
        """The network as it is."""
        genes = tuple(block.read() for block in self.blocks)
        return Standing(self.judge.whole(), self._watched(), genes)

    def run(
        self,
        checkpoint: Path | None,
        progress: Advance,
        *,
        writes: bool,
        starts: Sequence[Standing] = (),
    ) -> Evolved:
        """All passes, from the network as it is, or from the fittest of the ``starts``.

        The first one is what the report compares with.
        """
        starts = starts or (self.standing(),)
        state = self._start(starts)
        facts = {
            "settings": self.settings.to_json(), "blocks": [b.name for b in self.blocks],
            "before": starts[0].fitness,
        }  # fmt: skip
        kept = None if checkpoint is None else load_state(checkpoint, facts)
        state = self._resumed(state if kept is None else kept)
        total = self.settings.passes * len(self.blocks)
        while state.visits < total and not self._patience_is_over(state):
            number = state.visits // len(self.blocks) + 1
            for done in self._pass(state):
                state = done
                if checkpoint is not None and writes:
                    save_state(checkpoint, state, facts)
                progress(f"pass {number}, {self.settings.fitness} {state.fitness:.6f}")
        stopped = self._patience_is_over(state)
        if stopped:
            self._write(state.best)
        return Evolved(
            starts[0].fitness, self.judge.whole() if stopped else state.fitness, state.held_back,
            state.history, tuple(block.name for block in self.blocks),
            sum(len(genes) for genes in state.genes), self.judge.evaluations, stopped,
            self.settings,
        )  # fmt: skip

    def _start(self, starts: Sequence[Standing]) -> State:
        """The first state; of equals, the earlier start."""
        draw, found = self.draw.get_state(), min(starts, key=lambda start: start.fitness)
        heard = [starts[0]] if found is starts[0] else [starts[0], found]
        seen = tuple(value for start in heard for value in start.held_back)
        watched = min(heard, key=lambda start: start.held_back)
        best = watched.genes if seen else found.genes
        return State(0, found.fitness, seen, (), draw, found.genes, best)

    def _resumed(self, state: State) -> State:
        self.draw.set_state(state.draw)
        self._write(state.genes)
        return state

    def _write(self, genes: Sequence[Tensor]) -> None:
        for block, own in zip(self.blocks, genes, strict=True):
            block.write(own)
            self.network.refresh(block.layers)

    def _watched(self) -> tuple[float, ...]:
        return (self.watcher.whole(),) if self.settings.held_back else ()

    def _pass(self, state: State) -> Iterator[State]:
        """The states after each visit of one pass, or of what is left of it."""
        order = list(range(len(self.blocks)))
        if self.settings.order is Order.REVERSE:
            order.reverse()
        left = order[state.visits % len(order) :]
        cuts = self.judge.prefix([self.blocks[i].cut for i in left])
        if self.settings.racing is not None:
            self.judge.whole()
            self.judge.accept()
        for place, index in enumerate(left):
            state = self._visit(state, index, cuts)
            if place == len(left) - 1:
                state = self._watch(state)
            elif self.settings.order is Order.FORWARD:
                cut, then = (self.blocks[i].cut for i in (index, left[place + 1]))
                cuts[then] = self.judge.advance(cut, cuts[cut], then)
            del cuts[self.blocks[index].cut]
            yield state

    def _visit(self, state: State, index: int, cuts: Cuts) -> State:
        block = self.blocks[index]

        def evaluate(genes: Tensor, best: float) -> float:
            block.write(genes)
            if not block.holds():
                return math.inf
            try:
                self.network.refresh(block.layers)
            except UnsupportedError:  # its weights' sums leave the target's limit
                return math.inf
            return self.judge.behind(block.cut, cuts[block.cut], best)

        def mutate(genes: Tensor) -> Tensor:
            return mutated(block, genes, self.settings, self.draw)

        start = Member(state.fitness, state.genes[index])
        best = evolve(start, evaluate, mutate, self.settings, self.draw)
        self._write_block(block, best.genes)
        if best.fitness < state.fitness and self.settings.racing is not None:
            self.judge.behind(block.cut, cuts[block.cut], math.inf)
            self.judge.accept()
        genes = tuple(best.genes if i == index else g for i, g in enumerate(state.genes))
        return replace(
            state, visits=state.visits + 1, fitness=best.fitness, genes=genes,
            history=(*state.history, best.fitness), draw=self.draw.get_state(),
        )  # fmt: skip

    def _write_block(self, block: SearchBlock, genes: Tensor) -> None:
        block.write(genes)
        self.network.refresh(block.layers)

    def _watch(self, state: State) -> State:
        """After a pass."""
        if not self.settings.held_back:
            return replace(state, best=state.genes)
        seen = (*state.held_back, *self._watched())
        best = state.genes if seen[-1] < min(seen[:-1]) else state.best
        return replace(state, held_back=seen, best=best)

    def _patience_is_over(self, state: State) -> str:
        patience, seen = self.settings.patience, state.held_back
        if not patience or len(seen) <= patience:
            return ""
        since = len(seen) - 1 - seen.index(min(seen))
        return f"{since} passes without a better held-back fitness" if since >= patience else ""


def mutated(block: SearchBlock, genes: Tensor, settings: EvolveSettings, draw: Generator) -> Tensor:
    """A child: all genes of a block change, or as many as the settings say."""
    chosen = torch.ones(len(genes), dtype=torch.bool)
    powers = any(isinstance(site.genes, PowerGenes) for site in block.sites)
    count = settings.genes
    if count is None and powers:
        rate = torch.tensor(float(POWERS_CHANGED))
        count = max(1, int(torch.poisson(rate, generator=draw)))
    if count is not None and count < len(genes):
        chosen[:] = False
        chosen[torch.randperm(len(genes), generator=draw)[:count]] = True
    children = [
        site.genes.mutate(part, mask, settings, draw)
        for (site, part), (_, mask) in zip(block.parts(genes), block.parts(chosen), strict=True)
    ]
    return torch.cat(children)
