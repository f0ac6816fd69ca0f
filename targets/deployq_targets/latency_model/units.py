"""What the units do for a step: multiply, load weights, write results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from deployq.errors import InputError
from deployq.qgraph.nodes import (
    Concat,
    Elementwise,
    IntegerGraph,
    Linear,
    Lookup,
    MatMul,
    Move,
    Node,
    Pool,
)
from deployq_targets.latency_model.array import Loop, round_up, way_of
from deployq_targets.latency_model.blocks import Blocks, blocks_of
from deployq_targets.latency_model.copies import Copy
from deployq_targets.latency_model.fused import Step
from deployq_targets.latency_model.loops import copy_loop, loop_of
from deployq_targets.profile import TargetProfile

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Work:
    """Cycles of the units for one step, each alone.

    Args:
        loop: of a step that goes through the multipliers.
        blocks: of one group of it, where the profile states blocks.
        computed, loaded, written: multiplying; weights on their way to the multipliers, for each
            block again; results.
    """

    loop: Loop | None
    blocks: Blocks | None
    computed: float
    loaded: float
    written: float

    @property
    def slowest(self) -> float:
        """All at once."""
        return max(self.computed, self.loaded, self.written)

    def waited(self, channels: float, apart: float, in_flight: int | None) -> float:
        """Cycles in which the slowest unit waits for the others.

        One block goes through the faster of the two stages alone, before the first or after the
        last one; and a stage may wait because too many blocks are under way.

        Args:
            channels: cycles until the output unit has its biases, multipliers and shifts.
            apart: of a block, between reading and writing of one.
            in_flight: blocks that can be under way at once.
        """
        if self.blocks is None:
            return 0.0
        count = self.blocks.count
        stages = [max(self.computed, self.loaded) / count, max(self.written, channels) / count]
        way = sum(stages) + (apart if count > 1 else 0.0)
        least = way / in_flight if in_flight else 0.0
        faster, slower = sorted(max(stage, least) for stage in stages)
        return slower * count - self.slowest + faster


@dataclass(frozen=True)
class Units:
    """The units of a profile, at work on a graph."""

    graph: IntegerGraph
    shapes: Shapes
    profile: TargetProfile

    def work(self, step: Step) -> Work:
        """Cycles for one step."""
        node = step.node
        loop = loop_of(node, self.shapes, self.profile.compute)
        if loop is None:
            return Work(None, None, 0.0, 0.0, self._written(step))
        return self._looped(node, loop, self._written(step))

    def copied(self, step: Step, copy: Copy) -> Work:
        """Cycles for one of the copies that a step is made of."""
        written = prod(copy.shape) * self._cycles_per_element(step.node)
        return self._looped(step.node, copy_loop(copy.shape), written)

    def _looped(self, node: Node, loop: Loop, written: float) -> Work:
        compute = self.profile.compute
        way = way_of(replace(loop, groups=1), self._rate(node), self.profile.align, compute)
        cut = not isinstance(node, MatMul) and (loop.groups == 1 or compute.groups_apart)
        bits = self.graph.qparams[node.inputs[0]].qtype.bits
        blocks = blocks_of(loop, way, self.profile, bits) if cut else None
        means = isinstance(node, Pool) and node.geometry is None and compute.means_load_weights
        loaded = way.loaded * loop.groups * (blocks.planes if blocks else 1)
        return Work(
            loop=loop,
            blocks=blocks,
            computed=way.computed * loop.groups,
            loaded=loaded if isinstance(node, Linear) or means else 0.0,
            written=written,
        )

    def _rate(self, node: Node) -> float:
        """Multiply-accumulates per cycle of a node's widths; pools multiply 8-bit weights."""
        weight = node.weight_qparams.qtype.bits if isinstance(node, Linear) else 8
        pair = f"w{weight}a{self.graph.qparams[node.inputs[0]].qtype.bits}"
        rate = self.profile.compute.macs_per_cycle.get(pair)
        if rate is None:
            key = f"compute.macs_per_cycle.{pair}"
            raise unknown(self.profile, key, f"node {node.name} multiplies codes of these widths")
        return rate

    def _written(self, step: Step) -> float:
        """Cycles until all results are requantized and written.

        Sums and products that are fused go round once more; functions are applied on the way.
        Movement is traffic alone, where the profile does not run it as pools.
        """
        if isinstance(step.node, Concat):
            return 0.0
        if isinstance(step.node, Move) and not self.profile.compute.moves_as_pools:
            return 0.0
        if passes := self.profile.compute.passes.get(step.node.op_type):
            shape = self.shapes[step.output]
            values = passes[0] * prod(shape) + passes[1] * (prod(shape) // shape[-1])
            return values * self._cycles_per_element(step.node)
        rounds = [0.0]
        for part in step.nodes:
            taken = self._cycles_per_element(part)
            if isinstance(part, Lookup):
                rounds[-1] = max(rounds[-1], taken)
            else:
                rounds.append(taken)
        return self._elements(step) * sum(rounds)

    def _elements(self, step: Step) -> int:
        """Of the result; an elementwise operator computes the zeros between channels as well."""
        shape = self.shapes[step.output]
        multiple = self.profile.align.stored_channels or 1
        if not isinstance(step.node, Elementwise) or len(shape) != 4:
            return prod(shape)
        return prod(shape) // shape[1] * round_up(shape[1], multiple)

    def _cycles_per_element(self, node: Node) -> float:
        compute = self.profile.compute
        joint = compute.elementwise_per_cycle if isinstance(node, Elementwise) else None
        rate = compute.elements_per_cycle.get(node.op_type) or joint
        rate = rate or compute.output_elems_per_cycle
        return 0.0 if rate is None else 1 / rate


def unknown(profile: TargetProfile, key: str, rule: str) -> InputError:
    """A figure without which nothing can be said."""
    return InputError(
        f"{profile.name}: {key}",
        rule,
        found="no figure in the profile",
        next_step="state it in a profile that extends this one, or measure on the device",
    )
