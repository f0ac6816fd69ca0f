"""How fit a network is: its outputs on batches against the float network's, and runs from a cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx

from deployq.errors import AccumulatorOverflowError, DeployqError
from deployq.graph.partial_codes import PartialCodes, Values
from deployq_calibration.evolq.batches import Batch
from deployq_calibration.evolq.fitness import Fitness, compared
from deployq_calibration.evolq.held_out import mean
from deployq_calibration.evolq.settings import EvolveSettings
from deployq_calibration.evolq.sharing import gathered, is_local_batch, rank_count

RACED = 3
"""Batches that every candidate is evaluated on."""

JointOutputs = Callable[[int, Sequence[int]], Sequence[tuple[Tensor, ...] | None]]
"""Outputs of some networks on a batch; None of one that the target cannot run on it."""

Cuts = dict[fx.Node, dict[int, Values]]
"""What is alive at each cut, for each batch of this rank by its number."""


class Judge:
    """Fitness of a network over fixed batches; a rank of several computes its own batches.

    What a rank cannot compute counts as infinite in the round that all ranks gather, so they
    decide alike and wait for each other as often.

    Args:
        network: on codes.
        batches: in an order that is part of the objective.
        settings: fitness, temperature and racing.
    """

    def __init__(
        self, network: PartialCodes, batches: Sequence[Batch], settings: EvolveSettings
    ) -> None:
        self._network, self._batches, self._settings = network, batches, settings
        self.evaluations = 0
        self._best: list[float] = []
        self._last: list[float] = []
        self._refusal: DeployqError | None = None

    def whole(self) -> float:
        """Of the network as it is, from its inputs.

        Raises:
            DeployqError: the target cannot run it, or its outputs are not of the teacher's shapes;
                on every rank.
        """
        return self._mean(list(self.losses()))

    def losses(self) -> tuple[float, ...]:
        """:meth:`whole`, of each batch."""
        self.evaluations += 1
        self._refusal = None
        everything = range(len(self._batches))
        losses = self._losses(everything, lambda i: self._network.run(self._batches[i].inputs))
        if not all(map(math.isfinite, losses)):
            raise self._refusal or _refused_elsewhere()
        return tuple(losses)

    def prefix(self, cuts: Sequence[fx.Node]) -> Cuts:
        """Everything up to the cuts, computed once."""
        found: Cuts = {cut: {} for cut in cuts}
        for index, batch in self._own():
            values, _ = self._network.run_to(cuts, batch.inputs)
            for cut in cuts:
                found[cut][index] = values[cut]
        return found

    def advance(self, cut: fx.Node, values: Mapping[int, Values], to: fx.Node) -> dict[int, Values]:
        """From one cut to a later one."""
        return {i: self._network.run_between(cut, each, to) for i, each in values.items()}

    def suffix(self, cut: fx.Node, values: Mapping[int, Values], best: float) -> float:
        """Of the network behind a cut; infinite where the target cannot run it, or it is lost.

        Args:
            best: fitness of what it races against; infinite: it does not race.
        """
        self.evaluations += 1
        losses: list[float] = []
        for part in self._rounds(best):
            losses += self._losses(part, lambda i: self._network.run_from(cut, values[i]))
            if self._is_lost(losses, best):
                return math.inf
        return self._mean(losses)

    def suffixes(self, count: int, outputs: JointOutputs, best: float) -> list[float]:
        """:meth:`suffix` of several networks at a time; a lost one is left out of what follows.

        Args:
            count: of networks.
            outputs: of a batch by its number, from some of the networks by theirs.
            best: as there.
        """
        self.evaluations += count
        left: dict[int, list[float]] = {network: [] for network in range(count)}
        for part in self._rounds(best):
            found = self._joint_losses(part, list(left), outputs)
            left = {n: [*left[n], *more] for n, more in zip(left, found, strict=True)}
            left = {n: losses for n, losses in left.items() if not self._is_lost(losses, best)}
            if not left:
                break
        return [self._mean(left[n]) if n in left else math.inf for n in range(count)]

    def accept(self) -> None:
        """The last network that was evaluated is the one that others race against."""
        self._best = self._last

    def _own(self) -> Iterator[tuple[int, Batch]]:
        return ((i, b) for i, b in enumerate(self._batches) if is_local_batch(i))

    def _rounds(self, best: float) -> Iterator[range]:
        """Batches between two looks at a race; all at once without one."""
        count = len(self._batches)
        step = rank_count() if self._races(best) else count
        return (range(i, min(i + step, count)) for i in range(0, count, step))

    def _races(self, best: float) -> bool:
        return self._settings.racing is not None and bool(self._best) and math.isfinite(best)

    def _losses(self, part: range, outputs: Callable[[int], tuple[Tensor, ...]]) -> list[float]:
        """Of some batches, computed by all ranks together."""
        losses = [0.0] * len(part)
        for place, index in enumerate(part):
            if not is_local_batch(index):
                continue
            try:
                losses[place] = self._loss(self._batches[index], outputs(index))
            except DeployqError as error:
                self._refusal, losses[place] = error, math.inf
                break
        return gathered(losses)

    def _joint_losses(
        self, part: range, networks: Sequence[int], outputs: JointOutputs
    ) -> list[list[float]]:
        """Of each network on some batches, computed by all ranks together."""
        losses = [[0.0] * len(part) for _ in networks]
        for place, index in enumerate(part):
            if is_local_batch(index):
                for own, made in zip(losses, outputs(index, networks), strict=True):
                    batch = self._batches[index]
                    own[place] = math.inf if made is None else self._loss(batch, made)
        together = gathered([loss for own in losses for loss in own])
        size = len(part)
        return [together[i * size : (i + 1) * size] for i in range(len(networks))]

    def _loss(self, batch: Batch, outputs: tuple[Tensor, ...]) -> float:
        """On the processor: logarithms of another device would have other last bits."""
        batch.check(outputs)
        fitness, here = Fitness(self._settings.fitness), [output.cpu() for output in outputs]
        return float(compared(fitness, here, batch, self._settings.tau))

    def _mean(self, losses: list[float]) -> float:
        self._last = losses
        return mean(losses)

    def _is_lost(self, losses: Sequence[float], best: float) -> bool:
        """Refused, or worse than the best by many standard errors after some batches.

        Every number of batches but all of them is looked at, so ranks only change when.
        """
        if not all(map(math.isfinite, losses)):
            return True
        limit = self._settings.racing
        if limit is None or not self._races(best):
            return False
        seen = min(len(losses), len(self._batches) - 1)
        apart = torch.tensor(losses[:seen], dtype=torch.float64)
        apart -= torch.tensor(self._best[:seen], dtype=torch.float64)
        firsts = (apart[:count] for count in range(RACED, seen + 1))
        return any(bool(a.mean() > limit * a.std() / math.sqrt(len(a))) for a in firsts)


def _refused_elsewhere() -> AccumulatorOverflowError:
    return AccumulatorOverflowError(
        "calibration data",
        "the target runs the network on every batch",
        found="another process met a batch that it does not",
        next_step="look at the error of that process",
    )
