"""Evol-Q with a whole run of the network for every fitness: nothing cached, nothing remembered.

What the released code does, but for its validation runs: every layer's weights are quantized in
every forward pass, and a block's start is measured anew (C + 1 runs for C children). The draws and
the rule of choice are deployq's, so that the scales at the end must be the same to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from deployq.arithmetic.contract import QDQ
from deployq.graph.codes import CodesInterpreter, real_outputs
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel
from deployq_calibration.evolq import EvolveSettings
from deployq_calibration.evolq.fitness import flat, infonce
from deployq_calibration.evolq.population import Member, evolve
from deployq_calibration.evolq.search import split_batches
from deployq_calibration.evolq.sites import SearchBlock, search_blocks
from deployq_calibration.evolq.walk import mutated


def evolve_straightforward(
    prepared: PreparedModel,
    samples: Tensor,
    teacher: Callable[..., Any],
    settings: EvolveSettings,
) -> None:
    """Search the scales in place, on images (N, ...); no batch may be held back."""
    assert not settings.held_back and settings.order == "reverse"
    blocks = search_blocks(prepared, settings)
    draw = Generator().manual_seed(settings.seed)
    with evaluation_mode(prepared.module), torch.no_grad():
        batches, _ = split_batches((samples,), teacher, settings)

        def heard() -> float:
            losses = [
                float(infonce(flat(_outputs(prepared, batch.inputs)), batch.teacher, settings.tau))
                for batch in batches
            ]
            return math.fsum(losses) / len(losses)

        for _ in range(settings.passes):
            for block in reversed(blocks):
                _visit(block, heard, settings, draw)


def _visit(
    block: SearchBlock, heard: Callable[[], float], settings: EvolveSettings, draw: Generator
) -> None:
    def evaluate(genes: Sequence[Tensor], best: float) -> list[float]:
        (child,) = genes
        block.write(child)
        return [heard()]

    def mutate(genes: Tensor) -> Tensor:
        return mutated(block, genes, settings, draw)

    start = Member(heard(), block.read())
    block.write(evolve(start, evaluate, mutate, settings, draw).genes)


def _outputs(prepared: PreparedModel, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return real_outputs(CodesInterpreter(prepared, QDQ).run(*inputs))
