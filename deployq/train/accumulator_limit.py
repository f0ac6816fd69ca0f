"""Weights whose sums fit the accumulator whatever the input: a penalty, and a projection.

A channel's sum is largest where each product is: with input codes from ``low`` to ``high`` (less
their zero point), ``high * sum of positive codes - low * sum of |negative codes|``, and the bias.
Where that fits at both ends the proof of ``deployq.prove_accumulators`` passes, because it looks at
the same codes over no wider a range and at no larger a window. Colbert et al. 2023 (arXiv
2308.13504) bound the l1 norm by a parametrisation of the weights; a projection leaves them as they
are while they fit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from deployq.errors import AccumulatorOverflowError
from deployq.graph.integers import LinearCall, linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.train.bias_room import make_room_for_products
from deployq.train.sum_room import SumRoom, by_channel

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
        excess = torch.zeros((), dtype=torch.float64)
        for call in linear_calls(self.prepared):
            room, quantizer = SumRoom.of(self.prepared, call), call.unit.weight_quantizer
            seen = call.unit.scaled_weight(call.weight, call.norm)
            steps = seen / quantizer.expand(quantizer.effective_scale(), seen)
            codes = steps.clamp(quantizer.qtype.qmin, quantizer.qtype.qmax)
            beyond = functional.relu(room.sums(by_channel(call, codes)) - room.most)
            excess = excess + beyond.sum() / room.accumulator.high
        return excess.float()

    @torch.no_grad()
    def project(self) -> tuple[str, ...]:
        """Shrink the weights of channels that do not fit until their codes do, in place.

        The weights of such a channel are cut to its grid's range and brought nearer to zero by one
        threshold: the projection on an l1 ball (Duchi et al. 2008). Where its bias leaves the
        products little room, that is made first (``deployq.train.bias_room``). Every other channel
        stays as it is, to the bit, where weight scales are per channel or rest.

        Returns:
            The layers with such channels.

        Raises:
            InputError: a scale that nobody chose, or a number that is not finite.
            AccumulatorOverflowError: a channel whose bias alone does not fit, and for which nothing
                makes room.
        """
        return tuple(call.name for call in linear_calls(self.prepared) if self._project(call))

    def _project(self, call: LinearCall) -> bool:
        room = SumRoom.of(self.prepared, call)
        wide = ~room.fits(call.weight)
        if not wide.any():
            return False
        make_room_for_products(room, wide)
        room = SumRoom.of(self.prepared, call)
        _check_biases(room)
        call.weight.copy_(_shrunk(room, wide))
        return True


def _check_biases(room: SumRoom) -> None:
    lost = torch.nonzero((room.most < 0).any(0)).flatten()
    if len(lost):
        accumulator = room.accumulator
        raise AccumulatorOverflowError(
            f"{room.call.name}.bias, output channel {int(lost[0])}",
            "a bias leaves room for products in the accumulator",
            found=f"{int(room.bias[lost[0]])} steps of s_x s_w",
            allowed=f"{accumulator.low}..{accumulator.high}",
            next_step="give the layer coarser scales or a smaller bias, or a wider accumulator",
        )


def _shrunk(room: SumRoom, wide: Tensor) -> Tensor:
    """The weight with the smallest thresholds, by bisection, at which its wide channels fit."""
    unit, weight = room.call.unit, room.call.weight
    chosen = unit.along_outputs(wide, weight)
    cut = torch.where(chosen, _on_range(room.call), weight)
    magnitude = cut.abs()
    low = torch.zeros_like(wide, dtype=weight.dtype)
    high = torch.where(wide, by_channel(room.call, magnitude).amax(1), 0.0)

    def brought_nearer(threshold: Tensor) -> Tensor:
        nearer = (magnitude - unit.along_outputs(threshold, weight)).clamp(min=0.0)
        return torch.where(chosen, cut.sign() * nearer, weight)

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        good = room.fits(brought_nearer(middle))
        low, high = torch.where(good, low, middle), torch.where(good, middle, high)
    return brought_nearer(high)


def _on_range(call: LinearCall) -> Tensor:
    """The weight without what its quantizer clips."""
    quantizer, seen = call.unit.weight_quantizer, call.seen_weight()
    scale = quantizer.expand(quantizer.effective_scale(), seen)
    kept = seen.clamp(quantizer.qtype.qmin * scale, quantizer.qtype.qmax * scale)
    return torch.where(kept == seen, call.weight, call.weight * (kept / seen))
