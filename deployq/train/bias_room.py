"""Biases that fill an accumulator, so that no weights would fit beside them.

Scales that learn follow weights that shrink, and a bias then counts more of their steps. Which of
the two gives way is our choice: a scale that learns gets coarser, beside one that rests the bias
gets smaller.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.train.sum_room import SumRoom

BIAS_SHARE = 0.5
"""Of the accumulator: what the bias of a channel that does not fit may fill."""


def make_room_for_products(room: SumRoom, wide: Tensor) -> None:
    """Bring the biases of channels down to :data:`BIAS_SHARE` of the accumulator, in place.

    Args:
        room: of a layer.
        wide: (O,) its channels that do not fit; those whose bias fills no more stay.
    """
    crowded = wide & (room.bias.abs() > BIAS_SHARE * room.accumulator.high)
    if not crowded.any():
        return
    if room.call.unit.weight_quantizer.step.requires_grad:
        _coarsen(room, crowded)
    else:
        _lower(room, crowded)


def _coarsen(room: SumRoom, crowded: Tensor) -> None:
    """Raise weight scales, on the lattice to the next power of two above."""
    unit, norm = room.call.unit, room.call.norm
    quantizer, real = unit.weight_quantizer, unit.real_bias(room.call.weight, *room.call.rest)
    step = torch.full_like(real, room.input_scale)
    if norm is not None and unit.batch_norm == "absorb":
        step = step * norm.double().factor(unit.eps).clamp(min=0.0)
    least = real.abs() / (step * BIAS_SHARE * room.accumulator.high)
    least = torch.where(crowded & least.isfinite(), least, 0.0)
    scale = quantizer.effective_scale()
    if not scale.ndim:
        least = least.amax()
    up = 2.0**0.5 if quantizer.lattice else 1.0  # the nearest to that is no lower
    raised = torch.where(least > scale, quantizer.nearest_scale((least * up).float()), scale)
    quantizer.set_qparams(raised, quantizer.zero_point)


def _lower(room: SumRoom, crowded: Tensor) -> None:
    """Lower what is added last: the bias, or the BatchNorm's beta."""
    call = room.call
    last = call.rest[0] if call.norm is None else call.norm.beta
    if last is not None:
        kept = BIAS_SHARE * room.accumulator.high / room.bias.abs().clamp(min=1)
        real = call.unit.real_bias(call.weight, *call.rest)
        last.copy_(torch.where(crowded, last + real * (kept - 1.0), last))
