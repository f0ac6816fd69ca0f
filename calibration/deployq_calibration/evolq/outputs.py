"""How fit a network is: batches, what the float network says of them, and runs from a cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from deployq.errors import AccumulatorOverflowError
from deployq.graph.partial_codes import PartialCodes, Values
from deployq_calibration.evolq.fitness import FUNCTIONS, Fitness, flat
from deployq_calibration.evolq.settings import EvolveSettings
from deployq_calibration.evolq.sharing import gathered, mine

RACED = 3
"""Batches that every candidate is heard on."""


@dataclass(frozen=True)
class Batch:
    """Samples that are compared with each other.

    Args:
        inputs: (N, ...) each.
        teacher: (N, K) float64, the float network's outputs.
    """

    inputs: tuple[Tensor, ...]
    teacher: Tensor


Cuts = dict[fx.Node, list[Values]]
"""What is alive at each cut, for each batch of this rank."""


class Judge:
    """Fitness of a network over fixed batches; a rank of several computes its own batches.

    Args:
        network: on codes.
        batches: in an order that is part of the objective.
        settings: fitness, temperature and racing.
    """

    def __init__(
        self, network: PartialCodes, batches: Sequence[Batch], settings: EvolveSettings
    ) -> None:
        self._network, self._batches, self._settings = network, batches, settings
        self._function = FUNCTIONS[Fitness(settings.fitness)]
        self.evaluations = 0
        self._best: list[float] = []
        self._last: list[float] = []

    def whole(self) -> float:
        """Of the network as it is, from its inputs."""
        return self._mean({i: self._network.run(b.inputs) for i, b in self._own()})

    def prefix(self, cuts: Sequence[fx.Node]) -> Cuts:
        """Everything up to the cuts, computed once."""
        found: Cuts = {cut: [] for cut in cuts}
        for _, batch in self._own():
            values, _ = self._network.run_to(cuts, batch.inputs)
            for cut in cuts:
                found[cut].append(values[cut])
        return found

    def advance(self, cut: fx.Node, values: Sequence[Values], to: fx.Node) -> list[Values]:
        """From one cut to a later one."""
        return [self._network.run_from(cut, each, to)[1] for each in values]

    def behind(self, cut: fx.Node, values: Sequence[Values], best: float) -> float:
        """Of the network as it is behind a cut; infinite where a sum leaves the accumulator.

        Args:
            best: fitness of what it races against.
        """
        outputs: dict[int, tuple[Tensor, ...]] = {}
        try:
            for (index, _), each in zip(self._own(), values, strict=True):
                outputs[index] = self._network.run_from(cut, each)[0]
                if self._is_lost(outputs, best):
                    return math.inf
        except AccumulatorOverflowError:
            return math.inf
        return self._mean(outputs)

    def accept(self) -> None:
        """The last network that was heard is the one that others race against."""
        self._best = self._last

    def _own(self) -> Iterator[tuple[int, Batch]]:
        return ((i, b) for i, b in enumerate(self._batches) if mine(i))

    def _mean(self, outputs: Mapping[int, tuple[Tensor, ...]]) -> float:
        """In the order of the batches, so that the number of ranks changes nothing."""
        self.evaluations += 1
        losses = [0.0] * len(self._batches)
        for index, found in outputs.items():
            losses[index] = self._loss(index, found)
        self._last = gathered(losses)
        return math.fsum(self._last) / len(self._last)

    def _loss(self, index: int, outputs: tuple[Tensor, ...]) -> float:
        teacher = self._batches[index].teacher
        return float(self._function(flat(outputs), teacher, self._settings.tau))

    def _is_lost(self, outputs: Mapping[int, tuple[Tensor, ...]], best: float) -> bool:
        """Worse than the best by many standard errors of the batches that were heard."""
        limit = self._settings.racing
        if limit is None or len(outputs) < RACED or not self._best or not math.isfinite(best):
            return False
        apart = torch.tensor(
            [self._loss(i, o) - self._best[i] for i, o in outputs.items()], dtype=torch.float64
        )
        return bool(apart.mean() > limit * apart.std() / math.sqrt(len(apart)))
