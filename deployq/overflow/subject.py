"""What is proven about: a graph, a target, and what the accumulator holds.

The accumulator holds the finished sum of a position: its products ``(x - z_x) (w - z_w)`` and its
bias, unless the profile adds the bias behind the scale. That is the sum whose overflow a contract
speaks of, and the verdict looks at nothing else. Two more things lie in the register of some
hardware, and only the bounds for any order of summation count them: partial sums, and the output's
zero point where the contract folds it into the accumulator, as ``round_half_up(z_y / M)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deployq.arithmetic.contract import Accumulator
from deployq.arithmetic.folding import folded_zero
from deployq.arithmetic.intervals import Interval
from deployq.arithmetic.layer_scales import LayerScales
from deployq.arithmetic.rounding import Int64Array
from deployq.errors import ProfileError
from deployq.qgraph import IntegerGraph
from deployq.qgraph.nodes import Linear, MatMul
from deployq.qgraph.ranges import code_ranges
from deployq.simulator.biases import summed_layer
from deployq_targets import TargetProfile
from deployq_targets.words import Bound

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Subject:
    """A graph on a target.

    Args:
        graph: from ``deployq.qgraph.read_graph``.
        profile: the target.
        shapes: of every code tensor for one sample; None where the file leaves sizes free.

    Raises:
        ProfileError: the profile derives the largest sum from types, not from weights.
    """

    graph: IntegerGraph
    profile: TargetProfile
    shapes: Shapes | None

    def __post_init__(self) -> None:
        bound = self.profile.accumulator.bound
        if bound is not Bound.WEIGHTS:
            raise ProfileError(
                f"{self.profile.name}: accumulator.bound",
                "a proof takes the actual weights of a file",
                found=bound.value,
                allowed=Bound.WEIGHTS.value,
                next_step='state bound = "weights"',
            )

    @property
    def accumulator(self) -> Accumulator:
        """Width and overflow."""
        return self.profile.accumulator.contract()

    @cached_property
    def ranges(self) -> Mapping[str, Interval]:
        """The codes that each tensor can hold."""
        return code_ranges(self.graph)

    def values(self, tensor: str) -> Interval:
        """Codes of an activation less its zero point."""
        return self.ranges[tensor].moved(-int(self.graph.qparams[tensor].zero_point))

    def bias(self, node: Linear) -> Int64Array:
        """(O,): what the accumulator holds of it.

        Raises:
            UnsupportedError: it is no whole number of the steps that the sums count.
        """
        qx = self.graph.qparams[node.inputs[0]]
        bias = summed_layer(node, qx, self.profile.contract()).bias
        if bias is None:
            return np.zeros(node.weight.shape[node.channel_axis], np.int64)
        return bias.astype(np.int64)

    def folded(self, node: Linear | MatMul) -> Int64Array:
        """What stands for the output's zero point: one for each channel, or one for all."""
        form = self.profile.requant.for_op(node.form_name).form()
        if not form.folds_zero or not node.writes_codes:
            return np.zeros((), np.int64)
        scales = [self.graph.qparams[name].scale for name in node.inputs]
        weight = node.weight_qparams.scale if isinstance(node, Linear) else scales[1]
        out = self.graph.qparams[node.output]
        bias = node.bias if isinstance(node, Linear) else None
        return folded_zero(LayerScales(scales[0], weight, out, 1, 0), form, bias)
