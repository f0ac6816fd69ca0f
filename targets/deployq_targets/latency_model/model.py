"""The latency of a network on a target, from the figures of its profile alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod

from deployq.errors import InputError
from deployq.qgraph.nodes import Concat, Elementwise, IntegerGraph, Linear, Move, Node, Pool
from deployq.qgraph.sizes import macs
from deployq_targets.latency_model.array import array_cycles
from deployq_targets.latency_model.facts import Bound, ModelledLatency, ModelledLayer
from deployq_targets.latency_model.fused import Step, steps_of
from deployq_targets.latency_model.loops import loop_of
from deployq_targets.latency_model.stored import map_bytes, map_capacity, outside, weight_bytes
from deployq_targets.profile import TargetProfile

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
    steps = steps_of(graph, fuses_functions=profile.compute.fuses_functions)
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
    sizes: Mapping[str, int]
    outside: Collection[str]
    weights: Mapping[str, float]
    resident: bool

    @classmethod
    def of(
        cls, graph: IntegerGraph, shapes: Shapes, profile: TargetProfile, clock: int
    ) -> _Model:
        names = [n for n in graph.qparams if n in shapes and n not in graph.constants]
        sizes = {name: map_bytes(graph, shapes, name, profile) for name in names}
        layers = [node for node in graph.nodes if isinstance(node, Linear)]
        weights = {node.output: weight_bytes(node, profile) for node in layers}
        resident = sum(weights.values()) <= (profile.memory.weights_bytes or 0)
        left = outside(graph, sizes, map_capacity(profile.memory))
        return cls(graph, shapes, profile, clock, sizes, left, weights, resident)

    def layer(self, step: Step) -> ModelledLayer:
        node, memory = step.node, self.profile.memory
        computed, loaded = self._multiplied(node)
        moved = [n for n in (*node.inputs, step.output) if n in self.sizes]
        inside = sum(self.sizes[name] for name in moved if name not in self.outside)
        spilled = sum(self.sizes[name] for name in moved if name in self.outside)
        weights = self.weights.get(node.output, 0.0)
        fetched = self._transfer(0.0 if self.resident else weights, memory.external_bw)
        spilled_cycles = self._transfer(spilled, memory.external_bw)
        cycles = {
            Bound.COMPUTE: computed,
            Bound.LOADING: loaded,
            Bound.WEIGHTS: fetched,
            Bound.ACTIVATIONS: max(self._transfer(inside, memory.onchip_bw), spilled_cycles),
            Bound.OUTPUT: self._written(step),
        }
        slowest = max(*cycles.values(), fetched + spilled_cycles)  # one way leads outside
        total = slowest + (self.profile.compute.latency_cycles or 0)
        return ModelledLayer(
            name=step.output,
            operator=node.op_type,
            macs=macs(node, self.shapes),
            cycles=cycles,
            total=total,
            milliseconds=1e3 * total / self.clock,
            weight_bytes=weights,
            outside_bytes=spilled,
        )

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
        compute, node = self.profile.compute, step.node
        if isinstance(node, Move | Concat):
            return 0.0
        parts = [node] if step.function is None else [node, step.function]
        rates = [compute.elements_per_cycle.get(part.op_type) for part in parts]
        general = compute.output_elems_per_cycle
        if isinstance(node, Elementwise):
            general = compute.elementwise_per_cycle or general
        stated = [rate or general for rate in rates]
        known = [rate for rate in stated if rate is not None]
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
