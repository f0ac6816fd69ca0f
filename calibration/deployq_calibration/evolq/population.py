"""The search of one block: tournament, mutation, and the worst one goes.

As released: the population starts as copies of what the block has, so it is a climb with a few
restarts from there, and the best is never worse than the start.

Children that are evaluated together are drawn before the fitness of any of them is known. Members
are in order of fitness, so the winner of a tournament is the lowest place that was drawn: which
place depends on no fitness, only who stands there. Each child is drawn as if none of those before
it got in, which a child that is no better than the copies does not. Where one did, and another
member stands at the place now, the child and those behind it are drawn again from the same state of
the generator. So what is chosen is what one at a time would choose; a wrong guess costs an
evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from deployq_calibration.evolq.settings import EvolveSettings


@dataclass(frozen=True)
class Member:
    """Genes, and how fit they are; lower is fitter."""

    fitness: float
    genes: Tensor


@dataclass(frozen=True)
class Child:
    """Genes that are not evaluated yet.

    Args:
        before: state of the generator that it was drawn from.
        place: of its parent among the members.
        parent: who stood there when it was drawn.
        genes: its own.
    """

    before: Tensor
    place: int
    parent: Member
    genes: Tensor


Evaluate = Callable[[Sequence[Tensor], float], Sequence[float]]
"""Fitness of each of some genes, given the best so far: infinite where they cannot be deployed."""
Mutate = Callable[[Tensor], Tensor]


def evolve(
    start: Member,
    evaluate: Evaluate,
    mutate: Mutate,
    settings: EvolveSettings,
    draw: Generator,
    together: int = 1,
) -> Member:
    """The fittest of a block; of equals, the earlier one.

    Args:
        start: what the block has.
        mutate: a child of genes.
        draw: of the tournaments, and of ``mutate``.
        together: children that are evaluated at a time; it changes no decision.
    """
    members = [start] * settings.population
    known = {_key(start.genes): start.fitness}
    left = settings.children
    while left:
        litter = [_child(members, mutate, settings, draw) for _ in range(min(together, left))]
        new = {_key(child.genes): child.genes for child in litter if _key(child.genes) not in known}
        if new:
            known |= zip(new, evaluate(list(new.values()), members[0].fitness), strict=True)
        for child in _as_guessed(litter, members, draw):
            members.append(Member(known[_key(child.genes)], child.genes))
            members.sort(key=lambda member: member.fitness)  # stable
            members.pop()
            left -= 1
    return members[0]


def _child(
    members: Sequence[Member], mutate: Mutate, settings: EvolveSettings, draw: Generator
) -> Child:
    """Of the fittest of a tournament; of equals, of the first."""
    before = draw.get_state()
    place = min(torch.randint(len(members), (settings.tournament,), generator=draw).tolist())
    return Child(before, place, members[place], mutate(members[place].genes))


def _as_guessed(
    litter: Sequence[Child], members: Sequence[Member], draw: Generator
) -> Iterator[Child]:
    """Children whose parent stands where it stood; behind the last one the draw goes back."""
    for child in litter:
        if members[child.place] is not child.parent:
            draw.set_state(child.before)
            return
        yield child


def _key(genes: Tensor) -> bytes:
    return bytes(genes.contiguous().numpy().tobytes())
