"""What a step moves between the accelerator and its memories, and how long that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from deployq.qgraph.nodes import IntegerGraph, Linear, Pool
from deployq_targets.latency_model.fused import Step
from deployq_targets.latency_model.moved import Run, read_in_blocks, whole, written_in_blocks
from deployq_targets.latency_model.ports import Port, external, onchip
from deployq_targets.latency_model.stored import (
    Constants,
    FeatureMap,
    Placed,
    constants_of,
    place,
)
from deployq_targets.latency_model.units import Shapes, Work
from deployq_targets.profile import TargetProfile
from deployq_targets.words import Traffic

Bytes = Mapping[Traffic, float]


@dataclass(frozen=True)
class Haul:
    """Cycles of the memories for one step.

    Args:
        weights, activations: of each alone, in the slower of the two memories.
        channels: until the output unit has its biases, multipliers and shifts.
        together: of both, in the slower memory.
        busy: cycles that the memory outside cannot give to copies.
        fill: until the first block is there, and until the last one is written.
        copied, first_copied: weights on their way to the on-chip memory: all, and those of the
            first block.
        outside: bytes of feature maps that lie outside.
    """

    weights: float
    activations: float
    channels: float
    together: float
    busy: float
    fill: float
    copied: float
    first_copied: float
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

    def haul(self, step: Step, work: Work, idle: float) -> Haul:
        """Cycles for one step.

        Args:
            idle: cycles before it in which the memory outside had nothing else to do.
        """
        read = [self.placed.maps[name] for name in step.inputs if name in self.placed.maps]
        written = self.placed.maps[step.output]
        runs = [whole(stored, self.profile.align) for stored in read]
        result = whole(written, self.profile.align)
        fill = 0.0
        if work.loop and work.blocks:
            if read:
                runs[0] = read_in_blocks(read[0], work.loop, work.blocks, self.profile.align)
            result = written_in_blocks(written, work.loop, work.blocks, self.profile.align)
            fill = work.loop.groups * self._fill(read, runs, written, result)
        maps = self._maps([*zip(read, runs, strict=True)], written, result)
        constants, copied = self._constants(step, work, idle)
        waited = self.far.latency if any(constants[1].values()) and not copied.size else 0
        near, far = map(_sum, maps, constants)
        channels = constants[1].get(Traffic.CHANNELS, 0.0)
        return Haul(
            weights=self._slower(constants, waited),
            activations=self._slower(maps),
            channels=0.0 if copied.size else self.far.alone(channels, Traffic.CHANNELS),
            together=self._slower((near, far), waited),
            busy=self.far.transfer(sum(far.values())),
            fill=fill,
            copied=self._copied(copied.size),
            first_copied=self._copied(copied.size / (work.blocks.depths if work.blocks else 1)),
            outside=sum(stored.size for stored in (*read, written) if stored.outside),
        )

    def _fill(
        self, read: list[FeatureMap], runs: list[Run], written: FeatureMap, result: Run
    ) -> float:
        port = self._port(written)
        last = port.write_latency + result.first_on(port)
        if not read:
            return last
        port = self._port(read[0])
        return port.latency + runs[0].first_on(port) + last

    def _maps(
        self, read: list[tuple[FeatureMap, Run]], written: FeatureMap, result: Run
    ) -> tuple[Bytes, Bytes]:
        """Feature maps in the near and in the far memory."""
        near, far = Counter[Traffic](), Counter[Traffic]()
        moved = [(stored, run, Traffic.ACTIVATIONS) for stored, run in read]
        for stored, run, traffic in (*moved, (written, result, Traffic.RESULTS)):
            sums = far if stored.outside else near
            sums[traffic] += run.on(self._port(stored))
        return near, far

    def _constants(
        self, step: Step, work: Work, idle: float
    ) -> tuple[tuple[Bytes, Bytes], Constants]:
        """The same of weights, and what is copied near before it is read.

        Copied is what is read several times, and what is there before it is needed.
        """
        found = self.constants_of(step)
        if self.resident or not found.size:
            return ({}, {}), Constants()
        planes = work.blocks.planes if work.blocks else 1
        weights = {Traffic.WEIGHTS: found.weights * planes}
        channels = {Traffic.CHANNELS: float(found.channels * planes)}
        if self._fits(step, found) and (planes > 1 or self._copied(found.size) <= idle):
            return (weights, channels), found
        return ({}, weights | channels), Constants()

    def _fits(self, step: Step, found: Constants) -> bool:
        room = self.placed.room
        if not self.profile.memory.stages_weights:
            return False
        return room is None or found.size <= room[step.node.output]

    def _copied(self, size: float) -> float:
        return self.far.latency + self.far.alone(size, Traffic.COPIES) if size else 0.0

    def _slower(self, moved: tuple[Bytes, Bytes], waited: float = 0.0) -> float:
        near, far = moved
        return max(self.near.cycles(near), self.far.cycles(far) + waited)

    def _port(self, stored: FeatureMap) -> Port:
        return self.far if stored.outside else self.near


def _sum(first: Bytes, second: Bytes) -> Bytes:
    return {key: first.get(key, 0.0) + second.get(key, 0.0) for key in (*first, *second)}
