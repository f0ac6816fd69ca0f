"""Evol-Q from calibration data to scales: what teaches, what watches, where the walk starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from deployq.arithmetic.contract import QDQ, Contract
from deployq.errors import AccumulatorOverflowError, InputError, UnsupportedError
from deployq.graph.modes import evaluation_mode
from deployq.graph.partial_codes import PartialCodes
from deployq.graph.preparation import PreparedModel
from deployq_calibration.corrections.settings import Batches
from deployq_calibration.corrections.streams import collect
from deployq_calibration.evolq.evolved import Evolved
from deployq_calibration.evolq.fitness import flat
from deployq_calibration.evolq.outputs import Batch, Judge
from deployq_calibration.evolq.settings import EvolveSettings
from deployq_calibration.evolq.sites import SearchBlock, search_blocks
from deployq_calibration.evolq.unconstrained import on_lattice, put_back, snap, without_lattice
from deployq_calibration.evolq.walk import Advance, Standing, Walk

Teacher = Callable[..., Any]
"""The float network: inputs to outputs."""


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
    no other images than these are looked at. Where scales lie on a lattice, one search of any
    scales goes ahead; its result, snapped, is the start if it is the better one.

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
        samples = collect(batches(), settings.samples)
        data = _Data(*split_batches(samples, teacher, settings))
        files = _Files(checkpoint, writes, progress)
        few = settings.passes if settings.free_passes is None else settings.free_passes
        if few and on_lattice(blocks):
            free = replace(settings, passes=few)
            return _from_snapped(prepared, blocks, data, free, settings, contract, files)
        return files.run(data.walk(prepared, blocks, settings, contract), checkpoint)


@dataclass(frozen=True)
class _Data:
    searched: list[Batch]
    watching: list[Batch]

    def walk(
        self,
        prepared: PreparedModel,
        blocks: Sequence[SearchBlock],
        settings: EvolveSettings,
        contract: Contract,
    ) -> Walk:
        network = PartialCodes(prepared, contract)
        judge = Judge(network, self.searched, settings)
        return Walk(blocks, network, judge, Judge(network, self.watching, settings), settings)


@dataclass(frozen=True)
class _Files:
    checkpoint: Path | None
    writes: bool
    progress: Advance

    def run(self, walk: Walk, path: Path | None, starts: Sequence[Standing] = ()) -> Evolved:
        return walk.run(path, self.progress, writes=self.writes, starts=starts)

    def beside(self) -> Path | None:
        """Of the search that goes ahead."""
        path = self.checkpoint
        return None if path is None else path.with_name(f"{path.name}.free")


def _from_snapped(
    prepared: PreparedModel,
    blocks: Sequence[SearchBlock],
    data: _Data,
    free: EvolveSettings,
    settings: EvolveSettings,
    contract: Contract,
    files: _Files,
) -> Evolved:
    """A search of any scales in real arithmetic, then one on the lattice."""
    given = data.walk(prepared, blocks, settings, contract).standing()
    any_scale = search_blocks(prepared, free, any_scale=True)
    found = files.run(data.walk(without_lattice(prepared), any_scale, free, QDQ), files.beside())
    snap(blocks, given.genes)
    try:
        walk = data.walk(prepared, blocks, settings, contract)
        starts = [given, walk.standing()]
    except (AccumulatorOverflowError, UnsupportedError):  # the target could not hold its sums
        put_back(blocks, given.genes)
        walk, starts = data.walk(prepared, blocks, settings, contract), [given]
    evolved = files.run(walk, files.checkpoint, starts)
    return replace(
        evolved,
        evaluations=found.evaluations + evolved.evaluations + 1,
        unconstrained=found.after,
        snapped=starts[1].fitness if len(starts) > 1 else None,
    )


def split_batches(
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
