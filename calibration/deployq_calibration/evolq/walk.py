"""The walk: passes over the blocks, a small search in each, and what is held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Generator, Tensor, fx

from deployq.errors import DeployqError
from deployq.graph.partial_codes import PartialCodes
from deployq_calibration.evolq.candidates import Candidates, Join
from deployq_calibration.evolq.checkpoint import Checkpoint, State
from deployq_calibration.evolq.evolved import Evolved
from deployq_calibration.evolq.genes import POWERS_CHANGED, PowerGenes
from deployq_calibration.evolq.held_out import HeldOut
from deployq_calibration.evolq.outputs import Cuts, Judge
from deployq_calibration.evolq.population import Member, evolve
from deployq_calibration.evolq.settings import EvolveSettings, Order
from deployq_calibration.evolq.sharing import gathered
from deployq_calibration.evolq.sites import SearchBlock, put_back

Advance = Callable[[str], None]


@dataclass(frozen=True)
class Standing:
    """Where a walk may start.

    Args:
        fitness: of the batches that are searched on.
        losses: of each held-out batch; empty without any.
        genes: of each block, in graph order.
    """

    fitness: float
    losses: tuple[float, ...]
    genes: tuple[Tensor, ...]


class Walk:
    """Passes over blocks, each searched on its own.

    Args:
        blocks: in graph order.
        network: on codes.
        judge, held_out: of the batches that are searched on, and of the others.
        settings: sizes of the search.
        joins: where candidates of a block go on as one batch, by the block's cut.
    """

    def __init__(
        self,
        blocks: Sequence[SearchBlock],
        network: PartialCodes,
        judge: Judge,
        held_out: Judge,
        settings: EvolveSettings,
        joins: Mapping[fx.Node, Join] = MappingProxyType({}),
    ) -> None:
        self.blocks, self.network, self.settings = blocks, network, settings
        self.judge, self.held_out, self.joins = judge, held_out, joins
        self.draw = Generator().manual_seed(settings.seed)

    def standing(self) -> Standing:
        """The network as it is."""
        genes = tuple(block.read() for block in self.blocks)
        return Standing(self.judge.whole(), self._held_out_losses(), genes)

    def run(
        self,
        checkpoint: Checkpoint,
        progress: Advance,
        starts: Sequence[Standing] = (),
    ) -> Evolved:
        """All passes, from the network as it is, or from the fittest of the ``starts``.

        The first one is what the report compares with.
        """
        starts = starts or (self.standing(),)
        state = checkpoint.load(self.visits) or self._start(starts)
        gathered([0.0])  # no rank writes before all have read
        self._resume(state)
        while state.visits < self.visits and not self._patience_is_over(state):
            number = state.visits // len(self.blocks) + 1
            for done in self._pass(state):
                state = done
                checkpoint.save(state)
                progress(f"pass {number}, {self.settings.fitness} {state.fitness:.6f}")
        if self.settings.patience:
            self._write(state.best)
        return Evolved(
            starts[0].fitness, self.judge.whole() if self.settings.patience else state.fitness,
            state.held_out.fitness, state.history, tuple(block.name for block in self.blocks),
            sum(len(genes) for genes in state.genes), self.judge.evaluations,
            self._patience_is_over(state), self.settings, self._held_back_after(state.held_out),
        )  # fmt: skip

    @property
    def visits(self) -> int:
        """Of all passes."""
        return self.settings.passes * len(self.blocks)

    def _start(self, starts: Sequence[Standing]) -> State:
        """The first state; of equals, the earlier start."""
        draw, found = self.draw.get_state(), min(starts, key=lambda start: start.fitness)
        held_out, best = HeldOut.start(starts[0].losses), starts[0]
        if found is not starts[0]:
            held_out = held_out.after(found.losses, self.settings.margin)
            best = found if held_out.best else best
        return State(0, found.fitness, held_out, (), draw, found.genes, best.genes)

    def _resume(self, state: State) -> None:
        self.draw.set_state(state.draw)
        self._write(state.genes)

    def _write(self, genes: Sequence[Tensor]) -> None:
        put_back(self.blocks, genes)
        for block in self.blocks:
            self.network.refresh(block.layers)

    def _held_out_losses(self) -> tuple[float, ...]:
        """Of each batch, of the network as it is."""
        return self.held_out.losses() if self.settings.held_back else ()

    def _held_back_after(self, held_out: HeldOut) -> float | None:
        """Fitness of the held-out batches with the scales that the search leaves."""
        if not held_out.fitness:
            return None
        return held_out.fitness[held_out.best if self.settings.patience else -1]

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
                state = self._after_pass(state)
            elif self.settings.order is Order.FORWARD:
                cut, then = (self.blocks[i].cut for i in (index, left[place + 1]))
                cuts[then] = self.judge.advance(cut, cuts[cut], then)
            del cuts[self.blocks[index].cut]
            yield state

    def _visit(self, state: State, index: int, cuts: Cuts) -> State:
        block = self.blocks[index]
        join = self.joins.get(block.cut)
        candidates = Candidates(block, self.network, self.judge, cuts[block.cut], join)

        def mutate(genes: Tensor) -> Tensor:
            return mutated(block, genes, self.settings, self.draw)

        start = Member(state.fitness, state.genes[index])
        together = 1 if join is None else self.settings.side_by_side
        best = evolve(start, candidates.fitness, mutate, self.settings, self.draw, together)
        block.write(best.genes)
        self.network.refresh(block.layers)
        if best.fitness < state.fitness and self.settings.racing is not None:
            self.judge.suffix(block.cut, cuts[block.cut], math.inf)
            self.judge.accept()
        genes = tuple(best.genes if i == index else g for i, g in enumerate(state.genes))
        return replace(
            state, visits=state.visits + 1, fitness=best.fitness, genes=genes,
            history=(*state.history, best.fitness), draw=self.draw.get_state(),
        )  # fmt: skip

    def _after_pass(self, state: State) -> State:
        """With the held-out batches, which no candidate was refused for."""
        if not self.settings.held_back:
            return replace(state, best=state.genes)
        try:
            losses = self._held_out_losses()
        except DeployqError:
            losses = (math.inf,) * len(state.held_out.losses)
        seen = state.held_out.after(losses, self.settings.margin)
        return replace(state, held_out=seen, best=state.best if seen.since else state.genes)

    def _patience_is_over(self, state: State) -> str:
        patience, done = self.settings.patience, state.visits // len(self.blocks)
        if not patience or done < patience:
            return ""
        since = min(state.held_out.since, done)  # a second start is no pass
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
