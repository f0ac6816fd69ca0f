"""Weights whose sums fit the accumulator whatever the input: a penalty, and a projection.

A channel's sum is largest where each product is: with input codes from ``low`` to ``high`` (less
their zero point), ``high * sum of positive codes - low * sum of |negative codes|``, and the bias.
Where that fits at both ends the proof of ``deployq.prove_accumulators`` passes, because it looks at
the same codes over no wider a range and at no larger a window. Colbert et al. 2023 (arXiv
2308.13504) bound the l1 norm by a parametrisation of the weights; a projection leaves them as they
are while they fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deployq.arithmetic.contract import Accumulator
from deployq.arithmetic.intervals import Interval
from deployq.arithmetic.requant_words import BiasOrder
from deployq.arithmetic.weight_layout import outputs_first
from deployq.errors import AccumulatorOverflowError
from deployq.graph.code_ranges import input_values
from deployq.graph.finished import check_calibrated, check_finite_layer
from deployq.graph.integers import LinearCall, grid_of, linear_calls
from deployq.graph.preparation import PreparedModel

HALVINGS = 24
"""Of the search for a threshold: as fine as a float32 weight."""


class AccumulatorLimit:
    """Keeps the sums of every linear layer inside the target's accumulator.

    Also inside ``weight.sum_abs_max``, the limit of an adder tree. Products of two activations
    have no weights to limit. ``project`` after every step of the optimizer, and once after the
    last change to biases, BatchNorm statistics or scales.

    Args:
        prepared: a calibrated model; it is looked at anew in each call.
    """

    def __init__(self, prepared: PreparedModel) -> None:
        self.prepared = prepared

    def penalty(self) -> Tensor:
        """By how much channels exceed their room, in parts of the accumulator, summed.

        Before rounding, so it is 0 where every channel fits but for that. Gradients flow to
        weights and to scales that learn, not to biases.

        Raises:
            InputError: a scale that nobody chose, or a number that is not finite.
        """
        most = self.prepared.profile.accumulator.contract().high
        excess = torch.zeros((), dtype=torch.float64)
        for call in linear_calls(self.prepared):
            room, quantizer = self._room(call), call.unit.weight_quantizer
            seen = call.unit.scaled_weight(call.weight, call.norm)
            steps = seen / quantizer.expand(quantizer.effective_scale(), seen)
            sums = room.sums(_rows(call, steps.clamp(quantizer.qtype.qmin, quantizer.qtype.qmax)))
            excess = excess + functional.relu(sums - room.most).sum() / most
        return excess.float()

    @torch.no_grad()
    def project(self) -> tuple[str, ...]:
        """Shrink the weights of channels that do not fit until their codes do, in place.

        The weights of such a channel are cut to its grid's range and brought nearer to zero by one
        threshold: the projection on an l1 ball (Duchi et al. 2008). Every other channel stays as
        it is, to the bit.

        Returns:
            The layers with such channels.

        Raises:
            InputError: a scale that nobody chose, or a number that is not finite.
            AccumulatorOverflowError: a channel whose bias alone does not fit.
        """
        return tuple(call.name for call in linear_calls(self.prepared) if self._project(call))

    def _project(self, call: LinearCall) -> bool:
        room = self._room(call)

        def fits(weight: Tensor) -> Tensor:
            codes = call.unit.weight_quantizer.codes(call.unit.scaled_weight(weight, call.norm))
            return (room.sums(_rows(call, codes.double())) <= room.most).all(0)

        wide = ~fits(call.weight)
        if wide.any():
            self._check_bias(call, room, wide)
            call.weight.copy_(_shrunk(call, wide, fits))
        return bool(wide.any())

    def _room(self, call: LinearCall) -> _Room:
        profile = self.prepared.profile
        check_calibrated(f"{call.name}.weight", call.unit.weight_quantizer)
        check_finite_layer(call.name, call.unit, call.weight, call.rest)
        grid = grid_of(self.prepared.module, call.source)
        bias = call.unit.integers(np.float32(grid.scale), call.weight, *call.rest).bias
        held = bias * (profile.contract().bias_order is BiasOrder.BEFORE_SCALE)
        adder = profile.weight.sum_abs_max.get(grid.qtype.bits)
        values, accumulator = input_values(self.prepared, call), profile.accumulator.contract()
        return _Room.of(values, torch.from_numpy(held).to(call.weight.device), accumulator, adder)

    def _check_bias(self, call: LinearCall, room: _Room, wide: Tensor) -> None:
        lost = torch.nonzero(wide & (room.most < 0).any(0)).flatten()
        if len(lost):
            accumulator = self.prepared.profile.accumulator.contract()
            raise AccumulatorOverflowError(
                f"{call.name}.bias, output channel {int(lost[0])}",
                "a bias leaves room for products in the accumulator",
                found=f"{int(accumulator.high - room.most[0, lost[0]])} steps of s_x s_w",
                allowed=f"{accumulator.low}..{accumulator.high}",
                next_step="give the layer coarser scales or a smaller bias, or a wider accumulator",
            )


@dataclass(frozen=True)
class _Room:
    """What the products of each channel may sum up to.

    Args:
        values: input codes less their zero point; 0 is among them.
        most: float64 (3, O): of the largest sum, of the smallest one's negative, and of |code|.
    """

    values: Interval
    most: Tensor

    @classmethod
    def of(
        cls, values: Interval, bias: Tensor, accumulator: Accumulator, adder: int | None
    ) -> _Room:
        free = torch.full_like(bias, torch.iinfo(torch.int64).max if adder is None else adder)
        above, below = accumulator.high - bias, bias - accumulator.low
        return cls(values, torch.stack([above, below, free]).double())

    def sums(self, codes: Tensor) -> Tensor:
        """(3, O) for (O, K) codes; exact where these are whole float64 numbers."""
        plus, minus = codes.clamp(min=0.0).sum(1), codes.clamp(max=0.0).sum(1).neg()
        high, low = self.values.high, -self.values.low
        return torch.stack([high * plus + low * minus, low * plus + high * minus, plus + minus])


def _rows(call: LinearCall, values: Tensor) -> Tensor:
    """(O, K): what flows into each output channel."""
    if call.unit.op_type == "ConvTranspose":
        values = outputs_first(values, call.unit.geometry.groups)
    return values.flatten(1)


def _shrunk(call: LinearCall, wide: Tensor, fits: Callable[[Tensor], Tensor]) -> Tensor:
    """The weight with the smallest thresholds, by bisection, at which its wide channels fit."""
    unit, weight = call.unit, call.weight
    cut = torch.where(unit.along_outputs(wide, weight), _on_range(call), weight)
    magnitude = cut.abs()
    low = torch.zeros_like(wide, dtype=weight.dtype)
    high = torch.where(wide, _rows(call, magnitude).amax(1), 0.0)

    def brought_nearer(threshold: Tensor) -> Tensor:
        least = unit.along_outputs(threshold, weight)
        nearer = cut.sign() * (magnitude - least).clamp(min=0.0)
        return torch.where(unit.along_outputs(wide, weight), nearer, weight)

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        good = fits(brought_nearer(middle))
        low, high = torch.where(good, low, middle), torch.where(good, middle, high)
    return brought_nearer(high)


def _on_range(call: LinearCall) -> Tensor:
    """The weight without what its quantizer clips."""
    quantizer, seen = call.unit.weight_quantizer, call.seen_weight()
    scale = quantizer.expand(quantizer.effective_scale(), seen)
    kept = seen.clamp(quantizer.qtype.qmin * scale, quantizer.qtype.qmax * scale)
    return torch.where(kept == seen, call.weight, call.weight * (kept / seen))
