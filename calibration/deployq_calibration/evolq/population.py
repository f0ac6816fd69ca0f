"""The search of one block: tournament, mutation, and the worst one goes.

As released: the population starts as copies of what the block has, so it is a climb with a few
restarts from there, and the best is never worse than the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from deployq_calibration.evolq.settings import EvolveSettings


@dataclass(frozen=True)
class Member:
    """Genes, and how fit they are; lower is fitter."""

    fitness: float
    genes: Tensor


Evaluate = Callable[[Tensor, float], float]
"""Fitness of genes, given the best so far: infinite where they cannot be deployed."""


def evolve(
    start: Member,
    evaluate: Evaluate,
    mutate: Callable[[Tensor], Tensor],
    settings: EvolveSettings,
    draw: Generator,
) -> Member:
    """The fittest of a block; of equals, the earlier one.

    Args:
        start: what the block has.
        mutate: a child of genes.
        draw: of the tournaments.
    """
    members = [start] * settings.population
    known = {_key(start.genes): start.fitness}
    for _ in range(settings.children):
        drawn = torch.randint(len(members), (settings.tournament,), generator=draw).tolist()
        parent = members[min(drawn, key=lambda i: (members[i].fitness, i))]
        genes = mutate(parent.genes)
        key = _key(genes)
        if key not in known:
            known[key] = evaluate(genes, members[0].fitness)
        members.append(Member(known[key], genes))
        members.sort(key=lambda member: member.fitness)  # stable
        members.pop()
    return members[0]


def _key(genes: Tensor) -> bytes:
    return bytes(genes.contiguous().numpy().tobytes())
