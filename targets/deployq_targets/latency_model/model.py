"""The latency of a network on a target, from the figures of its profile alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from deployq.qgraph.nodes import IntegerGraph
from deployq.qgraph.sizes import macs
from deployq_targets.latency_model.copies import Copy, copies_of
from deployq_targets.latency_model.facts import (
    Bound,
    ModelledLatency,
    ModelledLayer,
    behind_each_other,
)
from deployq_targets.latency_model.fused import Step, steps_of
from deployq_targets.latency_model.haul import Haul, Memories
from deployq_targets.latency_model.units import Shapes, Units, Work, unknown
from deployq_targets.profile import TargetProfile

FIGURES = (
    "memory.onchip_bw", "memory.external_bw", "compute.weights_per_cycle",
    "compute.output_elems_per_cycle",
)  # fmt: skip
"""Keys whose absence takes a bound away."""

UNITS = (Bound.COMPUTE, Bound.LOADING, Bound.OUTPUT)
MEMORIES = (Bound.WEIGHTS, Bound.ACTIVATIONS)


def model_latency(graph: IntegerGraph, shapes: Shapes, profile: TargetProfile) -> ModelledLatency:
    """Cycles of each layer by what bounds them: the slowest decides, layers run one by one.

    The formula and every key that it reads: ``docs/latency_model.md``. Nothing is measured.

    Args:
        graph: from ``deployq.qgraph.read_graph``.
        shapes: code tensor, constants included, to its shape for one sample.
        profile: its sections align, memory and compute and the accumulator's width are read,
            nothing else.

    Raises:
        InputError: the profile states no clock, or no rate for the widths of a layer.
    """
    clock = profile.compute.clock_hz
    if clock is None:
        raise unknown(profile, "compute.clock_hz", "cycles become time by a clock")
    units = Units(graph, shapes, profile)
    made = _Model(units, Memories.of(graph, shapes, profile, clock), clock)
    return ModelledLatency(
        target=profile.name,
        clock_hz=clock,
        layers=tuple(made.layers(steps_of(graph, profile))),
        left_out=tuple(f"{node.name}: {node.op_type}, in float" for node in graph.floats),
        unstated=tuple(key for key in FIGURES if _figure(profile, key) is None),
    )


@dataclass(frozen=True)
class _Model:
    units: Units
    memories: Memories
    clock: int

    def layers(self, steps: Iterable[Step]) -> Iterator[ModelledLayer]:
        """One by one: while a layer runs, weights of the next one come, where that is faster."""
        idle = 0.0
        for step in steps:
            copies = copies_of(step, self.units.shapes, self.units.profile.compute)
            if copies is not None:
                layers, idle = self._copied(step, copies)
                yield from layers
                continue
            work = self.units.work(step)
            hauls = self.memories.hauls(step, work, idle)
            found = [(self._layer(step, work, haul, idle), haul) for haul in hauls]
            layer, haul = min(found, key=lambda pair: pair[0].total)
            idle = max(0.0, layer.total - haul.busy)
            yield layer

    def _copied(
        self, step: Step, copies: Iterable[Copy]
    ) -> tuple[tuple[ModelledLayer, ...], float]:
        """The copies of a step as one layer, none where there are none; cycles left outside."""
        layers, idle = [], 0.0
        for copy in copies:
            work = self.units.copied(step, copy)
            haul = self.memories.copied(step, copy, work)
            layers.append(self._layer(step, work, haul, 0.0))
            idle += max(0.0, layers[-1].total - haul.busy)
        return (behind_each_other(layers),) if layers else (), idle

    def _layer(self, step: Step, work: Work, haul: Haul, idle: float) -> ModelledLayer:
        awaited = max(0.0, haul.copied - idle)
        if awaited:  # the last piece is computed when it is there
            awaited += work.slowest / haul.pieces
        fill = self.memories.alone(work, haul) - work.slowest + max(0.0, haul.first_copied - idle)
        cycles = {
            Bound.COMPUTE: work.computed,
            Bound.LOADING: work.loaded,
            Bound.WEIGHTS: max(haul.weights, awaited),
            Bound.ACTIVATIONS: haul.activations,
            Bound.OUTPUT: work.written,
        }
        moved = max(haul.together, awaited)
        total = max(work.slowest + fill, moved) + (self.units.profile.compute.latency_cycles or 0)
        candidates = MEMORIES if moved > work.slowest + fill else UNITS
        return ModelledLayer(
            name=step.output,
            operator=step.node.op_type,
            fused=tuple(part.output for part in step.nodes[:-1]),
            views=step.views,
            joined=step.joined,
            macs=sum(macs(part, self.units.shapes) for part in step.nodes),
            cycles=cycles,
            fill=fill,
            total=total,
            milliseconds=1e3 * total / self.clock,
            bound=max(candidates, key=lambda bound: cycles[bound]),
            weight_bytes=self.memories.constants_of(step).size,
            outside_bytes=haul.outside,
        )


def _figure(profile: TargetProfile, key: str) -> object:
    section, name = key.split(".")
    return getattr(getattr(profile, section), name)
