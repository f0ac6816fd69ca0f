"""The latency of a network on a target, from the figures of its profile alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from deployq.errors import InputError
from deployq.qgraph.nodes import Concat, Elementwise, IntegerGraph, Linear, Move, Node, Pool
from deployq.qgraph.sizes import macs
from deployq_targets.latency_model.array import array_cycles
from deployq_targets.latency_model.facts import Bound, ModelledLatency, ModelledLayer
from deployq_targets.latency_model.fused import Step, steps_of
from deployq_targets.latency_model.loops import loop_of
from deployq_targets.latency_model.stored import (
    Constants,
    FeatureMap,
    constants_of,
    feature_maps,
)
from deployq_targets.profile import TargetProfile
from deployq_targets.words import Traffic

Shapes = Mapping[str, tuple[int, ...]]

FIGURES = (
    "memory.onchip_bw", "memory.external_bw", "compute.weights_per_cycle",
    "compute.output_elems_per_cycle",
)  # fmt: skip
"""Keys whose absence takes a bound away."""


def model_latency(graph: IntegerGraph, shapes: Shapes, profile: TargetProfile) -> ModelledLatency:
    """Cycles of each layer by what bounds them: the slowest decides, layers run one by one.

    The formula and every key that it reads: ``docs/latency_model.md``. Nothing is measured.

    Args:
        graph: from ``deployq.qgraph.read_graph``.
        shapes: code tensor, constants included, to its shape for one sample.
        profile: its sections align, memory and compute are read, nothing else.

    Raises:
        InputError: the profile states no clock, or no rate for the widths of a layer.
    """
    clock = profile.compute.clock_hz
    if clock is None:
        raise _unknown(profile, "compute.clock_hz", "cycles become time by a clock")
    made = _Model.of(graph, shapes, profile, clock)
    steps = steps_of(graph, profile.compute.fused)
    return ModelledLatency(
        target=profile.name,
        clock_hz=clock,
        layers=tuple(made.layer(step) for step in steps),
        left_out=tuple(f"{node.name}: {node.op_type}, in float" for node in graph.floats),
        unstated=tuple(key for key in FIGURES if _figure(profile, key) is None),
    )


@dataclass(frozen=True)
class _Model:
    graph: IntegerGraph
    shapes: Shapes
    profile: TargetProfile
    clock: int
    maps: Mapping[str, FeatureMap]
    constants: Mapping[str, Constants]
    resident: bool

    @classmethod
    def of(cls, graph: IntegerGraph, shapes: Shapes, profile: TargetProfile, clock: int) -> _Model:
        maps = feature_maps(graph, shapes, profile)
        layers = [node for node in graph.nodes if isinstance(node, Linear)]
        constants = {node.output: constants_of(node, profile) for node in layers}
        stored = sum(read.size for read in constants.values())
        resident = stored <= (profile.memory.weights_bytes or 0)
        return cls(graph, shapes, profile, clock, maps, constants, resident)

    def layer(self, step: Step) -> ModelledLayer:
        node, constants = step.node, self.constants.get(step.node.output, Constants())
        computed, loaded = self._multiplied(node)
        inside, outside, stored = self._moved(step)
        fetched = 0.0 if self.resident else self._fetched(constants)
        cycles = {
            Bound.COMPUTE: computed,
            Bound.LOADING: loaded,
            Bound.WEIGHTS: fetched,
            Bound.ACTIVATIONS: max(inside, outside),
            Bound.OUTPUT: self._written(step),
        }
        slowest = max(*cycles.values(), fetched + outside)  # one way leads outside
        total = slowest + (self.profile.compute.latency_cycles or 0)
        return ModelledLayer(
            name=step.output,
            operator=node.op_type,
            fused=tuple(part.output for part in step.nodes[:-1]),
            macs=sum(macs(part, self.shapes) for part in step.nodes),
            cycles=cycles,
            total=total,
            milliseconds=1e3 * total / self.clock,
            weight_bytes=constants.size,
            outside_bytes=stored,
        )

    def _moved(self, step: Step) -> tuple[float, float, int]:
        """Cycles of feature maps on the chip and outside; bytes of those outside."""
        memory = self.profile.memory
        read = [self.maps[name] for name in step.inputs if name in self.maps]
        written = self.maps[step.output]
        near = sum(m.moved(memory.onchip_burst) for m in (*read, written) if not m.outside)
        inside = self._transfer(near, memory.onchip_bw)
        far = sum(m.moved(memory.external_burst) for m in read if m.outside)
        outside = self._read(far, Traffic.ACTIVATIONS)
        if written.outside:
            outside += self._transfer(written.moved(memory.external_burst), memory.external_bw)
        return inside, outside, sum(m.stored for m in (*read, written) if m.outside)

    def _fetched(self, constants: Constants) -> float:
        """Cycles for what a layer reads from outside beside its feature maps."""
        memory = self.profile.memory
        if not constants.size or memory.external_bw is None:
            return 0.0
        together = self._transfer(constants.size, memory.external_bw)
        weights = self._read(constants.weights, Traffic.WEIGHTS)
        channels = self._read(constants.channels, Traffic.CHANNELS)
        return (memory.external_latency or 0) + max(together, weights, channels)

    def _read(self, size: float, traffic: Traffic) -> float:
        """Cycles for bytes from outside: a latency for each lot under way (Little's law)."""
        memory = self.profile.memory
        lot, latency = memory.external_in_flight.get(traffic), memory.external_latency or 0
        waited = 0.0 if lot is None else size / lot * latency
        return max(self._transfer(size, memory.external_bw), waited)

    def _multiplied(self, node: Node) -> tuple[float, float]:
        """Cycles of the multipliers, and of weights on their way to them."""
        loop, compute = loop_of(node, self.shapes), self.profile.compute
        if loop is None:
            return 0.0, 0.0
        computed, loaded = array_cycles(loop, self._rate(node), self.profile.align, compute)
        means = isinstance(node, Pool) and node.geometry is None and compute.means_load_weights
        return computed, loaded if isinstance(node, Linear) or means else 0.0

    def _rate(self, node: Node) -> float:
        """Multiply-accumulates per cycle of a node's widths; pools multiply 8-bit weights."""
        weight = node.weight_qparams.qtype.bits if isinstance(node, Linear) else 8
        pair = f"w{weight}a{self.graph.qparams[node.inputs[0]].qtype.bits}"
        rate = self.profile.compute.macs_per_cycle.get(pair)
        if rate is None:
            key = f"compute.macs_per_cycle.{pair}"
            raise _unknown(self.profile, key, f"node {node.name} multiplies codes of these widths")
        return rate

    def _written(self, step: Step) -> float:
        """Cycles until all results are requantized and written; movement is traffic alone."""
        compute = self.profile.compute
        if isinstance(step.node, Move | Concat):
            return 0.0
        general = compute.output_elems_per_cycle
        rates = []
        for part in step.nodes:
            joint = compute.elementwise_per_cycle if isinstance(part, Elementwise) else None
            rates.append(compute.elements_per_cycle.get(part.op_type) or joint or general)
        known = [rate for rate in rates if rate is not None]
        return prod(self.shapes[step.output]) / min(known) if known else 0.0

    def _transfer(self, size: float, bandwidth: float | None) -> float:
        """Cycles for so many bytes; 0 where the profile states no bandwidth."""
        return 0.0 if bandwidth is None else size * self.clock / bandwidth


def _figure(profile: TargetProfile, key: str) -> object:
    section, name = key.split(".")
    return getattr(getattr(profile, section), name)


def _unknown(profile: TargetProfile, key: str, rule: str) -> InputError:
    return InputError(
        f"{profile.name}: {key}",
        rule,
        found="no figure in the profile",
        next_step="state it in a profile that extends this one, or measure on the device",
    )
