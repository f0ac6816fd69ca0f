"""Evol-Q from calibration data to scales: what teaches, what is held out, where the walk starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import fx

from deployq.arithmetic.contract import QDQ, Contract
from deployq.arithmetic.kernels.devices import exact_device
from deployq.errors import DeployqError
from deployq.graph.modes import evaluation_mode, on_processor
from deployq.graph.partial_codes import PartialCodes
from deployq.graph.preparation import PreparedModel
from deployq.graph.sample_rows import sample_rows
from deployq_calibration.corrections.settings import Batches
from deployq_calibration.corrections.streams import collect
from deployq_calibration.evolq.batches import Batch, Teacher, split_batches
from deployq_calibration.evolq.candidates import Join, joins
from deployq_calibration.evolq.checkpoint import Checkpoint
from deployq_calibration.evolq.evolved import Evolved
from deployq_calibration.evolq.identity import search_identity
from deployq_calibration.evolq.outputs import Judge
from deployq_calibration.evolq.settings import EvolveSettings
from deployq_calibration.evolq.sites import SearchBlock, put_back, search_blocks
from deployq_calibration.evolq.unconstrained import on_lattice, snap, without_lattice
from deployq_calibration.evolq.walk import Advance, Walk

__all__ = ["Teacher", "evolve_scales", "split_batches"]


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

    The same seed gives the same scales, whatever the number of threads, processes or children that
    are evaluated together. No labels and no other images than these are looked at. Where scales lie
    on a lattice, one search of any scales goes ahead; its result, snapped, is the start if it is
    the better one.

    On another device the scales are those of the processor to the bit as long as the network is
    integer between its inputs and its outputs under ``contract``: weights are rounded, outputs
    compared and children drawn on the processor, and the device is tried on exact sums first. What
    may differ in its last bits there are operators in float, LayerNormalization and others that the
    contract has no integers for, and a teacher that computes on it.

    Args:
        prepared: calibrated; its codes stay with ``settings.codes = "frozen"``. Its tensors are on
            the processor while the search lasts, wherever they were.
        batches: one pass over the calibration data.
        teacher: the float network as it was before anything was quantized; a module computes where
            its tensors are.
        settings: sizes of the search.
        contract: arithmetic of the fitness: the file's real one, or a target's own.
        checkpoint: a file; written after each visit, and gone on from where it is there.
        writes: whether this process of several writes the checkpoint.
        progress: told after each visit.

    Raises:
        InputError: no block, fewer samples than a batch, a teacher of other inputs or outputs, or
            a checkpoint of another search; a device that is not there, or not exact.
    """
    settings = settings or EvolveSettings()
    device = exact_device(settings.device)
    with evaluation_mode(prepared.module), on_processor(prepared.module):
        blocks = search_blocks(prepared, settings)
        few = settings.passes if settings.free_passes is None else settings.free_passes
        settings = replace(settings, free_passes=few if on_lattice(blocks) else 0)
        samples = collect(batches(), settings.samples)
        data = _Data(*split_batches(samples, teacher, settings), device)
        facts = search_identity(prepared, blocks, data.all, settings, contract)
        kept = Checkpoint(checkpoint, facts, writes)
        kept.load(settings.passes * len(blocks))  # a wrong one is refused before any search
        if settings.free_passes:
            return _from_snapped(prepared, blocks, data, settings, contract, kept, progress)
        return data.walk(prepared, blocks, settings, contract).run(kept, progress)


@dataclass(frozen=True)
class _Data:
    searched: list[Batch]
    held_out: list[Batch]
    device: torch.device

    @property
    def all(self) -> list[Batch]:
        return self.searched + self.held_out

    def walk(
        self,
        prepared: PreparedModel,
        blocks: Sequence[SearchBlock],
        settings: EvolveSettings,
        contract: Contract,
    ) -> Walk:
        network = PartialCodes(prepared, contract, self.device)
        judge, held_out = (
            Judge(network, each, settings) for each in (self.searched, self.held_out)
        )
        found: dict[fx.Node, Join] = {}
        if settings.side_by_side > 1:
            rows = sample_rows(network, self.searched[0].inputs)
            found = joins(blocks, prepared.module, network, rows)
        return Walk(blocks, network, judge, held_out, settings, found)


def _from_snapped(
    prepared: PreparedModel,
    blocks: Sequence[SearchBlock],
    data: _Data,
    settings: EvolveSettings,
    contract: Contract,
    kept: Checkpoint,
    progress: Advance,
) -> Evolved:
    """A search of any scales in real arithmetic, then one on the lattice."""
    given = data.walk(prepared, blocks, settings, contract).standing()
    free = replace(settings, passes=settings.free_passes or 0)
    any_scale = search_blocks(prepared, free, any_scale=True)
    ahead = data.walk(without_lattice(prepared), any_scale, free, QDQ)
    found = ahead.run(kept.beside(scales="any"), progress)
    snap(blocks, given.genes)
    try:
        walk = data.walk(prepared, blocks, settings, contract)
        starts = [given, walk.standing()]
    except DeployqError:  # the target could not hold its sums, on every rank
        put_back(blocks, given.genes)
        walk, starts = data.walk(prepared, blocks, settings, contract), [given]
    evolved = walk.run(kept, progress, starts)
    return replace(
        evolved,
        evaluations=found.evaluations + evolved.evaluations + 1,
        unconstrained=found.after,
        snapped=starts[1].fitness if len(starts) > 1 else None,
    )
