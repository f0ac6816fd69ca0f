"""The walk: passes over the blocks, a small search in each, and what watches it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from deployq.arithmetic.contract import QDQ, Contract
from deployq.errors import InputError
from deployq.graph.modes import evaluation_mode
from deployq.graph.partial_codes import PartialCodes
from deployq.graph.preparation import PreparedModel
from deployq_calibration.corrections.settings import Batches
from deployq_calibration.corrections.streams import collect
from deployq_calibration.evolq.checkpoint import State, load_state, save_state
from deployq_calibration.evolq.fitness import flat
from deployq_calibration.evolq.genes import POWERS_CHANGED, PowerGenes
from deployq_calibration.evolq.outputs import Batch, Cuts, Judge
from deployq_calibration.evolq.population import Member, evolve
from deployq_calibration.evolq.settings import EvolveSettings, Order
from deployq_calibration.evolq.sites import SearchBlock, search_blocks

Teacher = Callable[..., Any]
"""The float network: inputs to outputs."""
Advance = Callable[[str], None]


@dataclass(frozen=True)
class Evolved:
    """What a search did.

    Args:
        before, after: fitness of the batches that were searched on; lower is better, never worse.
        held_back: of those that only watched, before and after each pass; empty without any.
        history: fitness after each visit of a block.
        blocks: names, in graph order.
        genes: numbers that were searched.
        evaluations: of the fitness, in part from the middle of the network on.
        stopped: why the search ended before its last pass, if it did.
        settings: it had.
    """

    before: float
    after: float
    held_back: tuple[float, ...]
    history: tuple[float, ...]
    blocks: tuple[str, ...]
    genes: int
    evaluations: int
    stopped: str
    settings: EvolveSettings

    def to_json(self) -> dict[str, object]:
        """Plain data, for reports and the manifest."""
        return {**vars(self), "settings": self.settings.to_json()}


def evolve_scales(
    prepared: PreparedModel,
    batches: Batches,
    teacher: Teacher,
    settings: EvolveSettings | None = None,
    *,
    contract: Contract = QDQ,
    checkpoint: Path | None = None,
    writes: bool = True,
    progress: Advance = lambda stage: None,
) -> Evolved:
    """Search the scales of a calibrated network, in place.

    The same seed gives the same scales, whatever the number of threads or processes. No labels and
    no other images than these are looked at.

    Args:
        prepared: calibrated; its codes stay with ``settings.codes = "frozen"``.
        batches: one pass over the calibration data.
        teacher: the float network as it was before anything was quantized.
        settings: sizes of the search.
        contract: arithmetic of the fitness: the file's real one, or a target's own.
        checkpoint: a file; written after each visit, and gone on from where it is there.
        writes: whether this process of several writes the checkpoint.
        progress: told after each visit.

    Raises:
        InputError: no block, fewer samples than a batch, or a checkpoint of another search.
    """
    settings = settings or EvolveSettings()
    blocks = search_blocks(prepared, settings)
    with evaluation_mode(prepared.module):
        searched, watching = _batches(collect(batches(), settings.samples), teacher, settings)
        network = PartialCodes(prepared, contract)
        walk = _Walk(
            blocks, network, Judge(network, searched, settings),
            Judge(network, watching, settings), settings,
        )  # fmt: skip
        return walk.run(checkpoint, progress, writes=writes)


def _batches(
    samples: tuple[Tensor, ...], teacher: Teacher, settings: EvolveSettings
) -> tuple[list[Batch], list[Batch]]:
    """Those to search on, and those that watch; a short last batch is left out."""
    count, size = len(samples[0]), settings.batch
    least = 2 * size if settings.held_back else size
    if count < least:
        raise InputError(
            "calibration data",
            "a search compares the samples of whole batches"
            + (", and one batch watches" if settings.held_back else ""),
            found=f"{count} samples",
            allowed=f"at least {least} for batches of {size}",
            next_step="give more samples, or a smaller batch",
        )
    order = torch.randperm(count, generator=Generator().manual_seed(settings.seed))
    found = []
    for chosen in torch.split(order[: count - count % size], size):
        inputs = tuple(tensor[chosen] for tensor in samples)
        with torch.no_grad():
            outputs = teacher(*inputs)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        found.append(Batch(inputs, flat(tuple(outputs))))
    watching = max(round(len(found) * settings.held_back), 1) if settings.held_back else 0
    return found[: len(found) - watching], found[len(found) - watching :]


class _Walk:
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

    def run(self, checkpoint: Path | None, progress: Advance, *, writes: bool) -> Evolved:
        before = self.judge.whole()
        facts = {
            "settings": self.settings.to_json(), "blocks": [b.name for b in self.blocks],
            "before": before,
        }  # fmt: skip
        state = None if checkpoint is None else load_state(checkpoint, facts)
        state = self._start(before) if state is None else self._resumed(state)
        stopped = ""
        for number in range(state.visits // len(self.blocks), self.settings.passes):
            for done in self._pass(state, number):
                state = done
                if checkpoint is not None and writes:
                    save_state(checkpoint, state, facts)
                progress(f"pass {number + 1}, {self.settings.fitness} {state.fitness:.6f}")
            stopped = self._patience_is_over(state)
            if stopped:
                self._write(state.best)
                break
        return Evolved(
            before, self.judge.whole() if stopped else state.fitness, state.held_back,
            state.history, tuple(block.name for block in self.blocks),
            sum(len(genes) for genes in state.genes), self.judge.evaluations, stopped,
            self.settings,
        )  # fmt: skip

    def _start(self, fitness: float) -> State:
        genes = tuple(block.read() for block in self.blocks)
        return State(0, fitness, self._watched(), (), self.draw.get_state(), genes, genes)

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

    def _pass(self, state: State, number: int) -> Iterator[State]:
        """The states after each visit of one pass, from where it was left."""
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
            if not block.write(genes):
                return math.inf
            self.network.refresh(block.layers)
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
