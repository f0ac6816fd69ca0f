"""What a step moves between the accelerator and its memories, and how long that takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from deployq.qgraph.nodes import IntegerGraph, Linear, Pool
from deployq_targets.latency_model.copies import Copy
from deployq_targets.latency_model.fused import Step
from deployq_targets.latency_model.moved import Run, read_in_blocks, whole, written_in_blocks
from deployq_targets.latency_model.ports import Port, external, onchip
from deployq_targets.latency_model.stored import (
    Constants,
    FeatureMap,
    Placed,
    constants_of,
    part_of,
    place,
)
from deployq_targets.latency_model.units import Shapes, Work
from deployq_targets.profile import TargetProfile
from deployq_targets.words import Traffic

Bytes = Mapping[Traffic, float]
Ends = tuple[list[FeatureMap], FeatureMap]
"""What is read, and what is written."""


@dataclass(frozen=True)
class Haul:
    """Cycles of the memories for one step.

    Args:
        weights, activations: of each alone, in the slower of the two memories.
        channels: until the output unit has its biases, multipliers and shifts.
        together: of both, in the slower memory.
        busy: cycles that the memory outside cannot give to copies.
        fill: until the first block is there, and until the last one is written.
        apart: between these two, of one block of each group.
        copied, first_copied: weights on their way to the on-chip memory: all, and those that must
            be there before the first block.
        pieces: in which they come.
        outside: bytes of feature maps that lie outside.
    """

    weights: float
    activations: float
    channels: float
    together: float
    busy: float
    fill: float
    apart: float
    copied: float
    first_copied: float
    pieces: float
    outside: int


@dataclass(frozen=True)
class Memories:
    """Both memories of a profile, with what lies in them."""

    profile: TargetProfile
    placed: Placed
    constants: Mapping[str, Constants]
    near: Port
    far: Port

    @classmethod
    def of(
        cls, graph: IntegerGraph, shapes: Shapes, profile: TargetProfile, clock: int
    ) -> Memories:
        """All feature maps and weights of a graph in their places."""
        layers = [node for node in graph.nodes if isinstance(node, Linear | Pool)]
        return cls(
            profile,
            place(graph, shapes, profile),
            {node.output: constants_of(node, shapes, profile) for node in layers},
            onchip(profile.memory, clock),
            external(profile.memory, clock),
        )

    @property
    def resident(self) -> bool:
        """All weights have their own memory on the chip."""
        stored = sum(read.size for read in self.constants.values())
        return stored <= (self.profile.memory.weights_bytes or 0)

    def constants_of(self, step: Step) -> Constants:
        """What a step reads beside its feature maps."""
        return self.constants.get(step.node.output, Constants())

    def hauls(self, step: Step, work: Work, idle: float) -> Iterator[Haul]:
        """Cycles for one step: weights straight from outside, or copied near before.

        Weights that are read once are copied only where that takes no longer than the step alone,
        and what is left of it when the step begins is won back by reading them near.

        Args:
            idle: cycles before the step in which the memory outside can copy.
        """
        found = self.constants_of(step)
        read = [self.placed.maps[name] for name in step.inputs if name in self.placed.maps]
        ends = (read, self.placed.maps[step.output])
        straight = self._haul(ends, work, found, staged=False)
        yield straight
        if not self.profile.memory.stages_weights or self.resident or not self._fits(step, found):
            return
        staged = self._haul(ends, work, found, staged=True)
        near = self.near.alone(found.weights, Traffic.WEIGHTS)
        once = work.blocks is None or work.blocks.planes == 1
        in_time = staged.copied + near <= max(self.alone(work, straight), straight.together)
        faster = max(0.0, staged.copied - idle) + near < straight.weights
        if not once or (in_time and faster):
            yield staged

    def alone(self, work: Work, haul: Haul) -> float:
        """Cycles of the units with what they wait for."""
        limit = self.profile.compute.blocks_in_flight
        return work.slowest + work.waited(haul.channels, haul.apart, limit) + haul.fill

    def copied(self, step: Step, copy: Copy, work: Work) -> Haul:
        """Cycles for one of the copies that a step is made of; constants lie outside."""
        multiple = self.profile.align.stored_channels or 1
        written = part_of(self.placed.maps[step.output], copy.shape, multiple)
        read = replace(written, edge=True, outside=True)
        if copy.source in self.placed.maps:
            read = part_of(self.placed.maps[copy.source], copy.shape, multiple)
        return self._haul(([read], written), work, Constants(), staged=False)

    def _haul(self, ends: Ends, work: Work, found: Constants, *, staged: bool) -> Haul:
        read, written = ends
        copied = found if staged else Constants()
        runs = [whole(stored, self.profile.align) for stored in read]
        result = whole(written, self.profile.align)
        first = last = 0.0
        if work.loop and work.blocks:
            if read:
                runs[0] = read_in_blocks(read[0], work.loop, work.blocks, self.profile.align)
            result = written_in_blocks(written, work.loop, work.blocks, self.profile.align)
            first, last = self._fill(read, runs, written, result)
        maps = self._maps([*zip(read, runs, strict=True)], written, result)
        constants = self._constants(found, work, staged=staged)
        planes = work.blocks.planes if work.blocks else 1
        straight = any(constants[1].values()) and not staged
        groups = _groups(work)
        waited = self.far.latency * planes * groups if straight else 0
        near, far = map(_sum, maps, constants)
        pieces = self._pieces(work)
        source = self.near if staged else self.far
        return Haul(
            weights=self._slower(constants, waited),
            activations=self._slower(maps),
            channels=source.awaited(
                constants[1].get(Traffic.CHANNELS, 0.0), self.profile.memory.channel_lot
            ),
            together=self._slower((near, far), waited),
            busy=self.far.transfer(sum(far.values())),
            fill=groups * (first + last),
            apart=groups * abs(first - last),
            copied=self._copied(copied.size, groups),
            first_copied=self._copied(copied.size / pieces / groups),
            pieces=pieces,
            outside=sum(stored.size for stored in (*read, written) if stored.outside),
        )

    def _fill(
        self, read: list[FeatureMap], runs: list[Run], written: FeatureMap, result: Run
    ) -> tuple[float, float]:
        """Cycles of the first block on its way in, and of the last on its way out."""
        port = self._port(written)
        last = port.write_latency + result.first_on(port)
        if not read:
            return 0.0, last
        port = self._port(read[0])
        return port.latency + runs[0].first_on(port), last

    def _maps(
        self, read: list[tuple[FeatureMap, Run]], written: FeatureMap, result: Run
    ) -> tuple[Bytes, Bytes]:
        """Feature maps in the near and in the far memory."""
        near, far = defaultdict[Traffic, float](float), defaultdict[Traffic, float](float)
        moved = [(stored, run, Traffic.ACTIVATIONS) for stored, run in read]
        for stored, run, traffic in (*moved, (written, result, Traffic.RESULTS)):
            sums = far if stored.outside else near
            sums[traffic] += run.on(self._port(stored))
        return near, far

    def _constants(self, found: Constants, work: Work, *, staged: bool) -> tuple[Bytes, Bytes]:
        """The same of weights, and what belongs to their channels."""
        if self.resident or not found.size:
            return {}, {}
        planes = work.blocks.planes if work.blocks else 1
        weights = {Traffic.WEIGHTS: found.weights * planes}
        channels = {Traffic.CHANNELS: float(found.channels * planes)}
        return (weights, channels) if staged else ({}, weights | channels)

    def _fits(self, step: Step, found: Constants) -> bool:
        room = self.placed.room
        return found.size > 0 and (room is None or found.size <= room[step.node.output])

    def _copied(self, size: float, pieces: int = 1) -> float:
        latency = self.far.latency * pieces
        return latency + self.far.alone(size, Traffic.COPIES) if size else 0.0

    def _pieces(self, work: Work) -> float:
        depths = work.blocks.depths if work.blocks else 1
        if work.loop is None or self.profile.memory.staged_channels is None:
            return depths
        return max(depths, work.loop.outputs / self.profile.memory.staged_channels)

    def _slower(self, moved: tuple[Bytes, Bytes], waited: float = 0.0) -> float:
        near, far = moved
        return max(self.near.cycles(near), self.far.cycles(far) + waited)

    def _port(self, stored: FeatureMap) -> Port:
        return self.far if stored.outside else self.near


def _groups(work: Work) -> int:
    """Groups that run one by one."""
    return work.loop.groups if work.loop and work.blocks else 1


def _sum(first: Bytes, second: Bytes) -> Bytes:
    return {key: first.get(key, 0.0) + second.get(key, 0.0) for key in (*first, *second)}
