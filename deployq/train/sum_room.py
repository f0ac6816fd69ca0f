"""What the products of each output channel may sum up to on a target, beside the bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import Accumulator
from deployq.arithmetic.intervals import Interval
from deployq.arithmetic.requant_words import BiasOrder
from deployq.arithmetic.weight_layout import outputs_first
from deployq.graph.code_ranges import input_values
from deployq.graph.finished import check_calibrated, check_finite_layer
from deployq.graph.integers import LinearCall, grid_of
from deployq.graph.preparation import PreparedModel


@dataclass(frozen=True, eq=False)
class SumRoom:
    """The limits of one layer.

    Args:
        call: the layer.
        values: codes of its input less their zero point; 0 is among them.
        bias: (O,) int64, what the accumulator holds of it.
        accumulator: of the target.
        adder: most that |code| of a channel may sum up to; None: any.
        input_scale: of its input.
    """

    call: LinearCall
    values: Interval
    bias: Tensor
    accumulator: Accumulator
    adder: int | None
    input_scale: float

    @classmethod
    def of(cls, prepared: PreparedModel, call: LinearCall) -> SumRoom:
        """From the layer's present scales and biases.

        Raises:
            InputError: a scale that nobody chose, or a number that is not finite.
        """
        profile = prepared.profile
        check_calibrated(f"{call.name}.weight", call.unit.weight_quantizer)
        check_finite_layer(call.name, call.unit, call.weight, call.rest)
        grid = grid_of(prepared.module, call.source)
        bias = call.unit.integers(np.float32(grid.scale), call.weight, *call.rest).bias
        held = bias * (profile.contract().bias_order is BiasOrder.BEFORE_SCALE)
        return cls(
            call, input_values(prepared, call), torch.from_numpy(held).to(call.weight.device),
            profile.accumulator.contract(), profile.weight.sum_abs_max.get(grid.qtype.bits),
            float(grid.scale),
        )  # fmt: skip

    def sums(self, codes: Tensor) -> Tensor:
        """(3, O): of (O, K) codes the largest sum, the smallest one's negative, and that of |code|.

        Exact where codes are whole float64 numbers.
        """
        plus, minus = codes.clamp(min=0.0).sum(1), codes.clamp(max=0.0).sum(1).neg()
        high, low = self.values.high, -self.values.low
        return torch.stack([high * plus + low * minus, low * plus + high * minus, plus + minus])

    @property
    def most(self) -> Tensor:
        """float64 (3, O): limits of :meth:`sums`; negative where the bias leaves no room."""
        above, below = self.accumulator.high - self.bias, self.bias - self.accumulator.low
        free = torch.full_like(above.double(), float("inf") if self.adder is None else self.adder)
        return torch.stack([above.double(), below.double(), free])

    def fits(self, weight: Tensor) -> Tensor:
        """(O,): whether the codes of a weight in the place of the layer's keep the limits."""
        unit = self.call.unit
        codes = unit.weight_quantizer.codes(unit.scaled_weight(weight, self.call.norm))
        return (self.sums(by_channel(self.call, codes.double())) <= self.most).all(0)


def by_channel(call: LinearCall, values: Tensor) -> Tensor:
    """(O, K): values of a weight that flow into each output channel."""
    if call.unit.op_type == "ConvTranspose":
        values = outputs_first(values, call.unit.geometry.groups)
    return values.flatten(1)
