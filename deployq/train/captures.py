"""The weight codes of captured models: one step for all of them, and their exact sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deployq.errors import InputError, UnsupportedError
from deployq.graph.integers import LinearCall


@dataclass(frozen=True)
class CaptureInfo:
    """What one capture was.

    Args:
        index: of the capture, from 0.
        code_change_fraction: of all weight codes, those that the capture before it had otherwise;
            None for the first. Captures that are too alike average to themselves.
    """

    index: int
    code_change_fraction: float | None


@dataclass(frozen=True)
class LayerCodes:
    """The captures of one layer.

    Args:
        step: scale of the weight quantizer in all of them, of its shape.
        total: int64 sum of the codes, of the shape of the weight.
        latest: codes of the last capture.
    """

    step: Tensor
    total: Tensor
    latest: Tensor

    @classmethod
    def of(cls, call: LinearCall) -> LayerCodes:
        """No capture yet, at the step that the layer has."""
        nothing = torch.zeros_like(call.weight, dtype=torch.int64)
        step = call.unit.weight_quantizer.effective_scale().detach().clone()
        return cls(step, nothing, nothing)

    def after(self, call: LinearCall) -> LayerCodes:
        """With the codes that the layer has counted in."""
        codes = call.unit.weight_quantizer.codes(call.seen_weight()).long()
        return LayerCodes(self.step, self.total + codes, codes)

    def average(self, call: LinearCall, captures: int) -> Tensor:
        """float64 mean of the captured weights, ``step * total / captures``."""
        step = call.unit.weight_quantizer.expand(self.step, call.weight)
        return step.double() * self.total / captures

    def check_step(self, call: LinearCall) -> None:
        """Codes of two steps have no sum.

        Raises:
            InputError: the step has moved, with the layer's name.
        """
        found = call.unit.weight_quantizer.effective_scale().detach()
        if torch.equal(found, self.step):
            return
        raise InputError(
            f"{call.name}.weight",
            "captured codes share one step: it stays from begin() to the last capture",
            found=f"{int((found != self.step).sum())} of {found.numel()} steps moved",
            next_step="leave weight scales alone: learn_scales(prepared, weights=False)",
        )


def check_shared_weights(calls: Sequence[LinearCall]) -> None:
    """Layers that read one weight have one average: the same type, and no BatchNorm in the weight.

    Raises:
        UnsupportedError: with the names of two layers.
    """
    readers: dict[int, LinearCall] = {}
    for call in calls:
        other = readers.setdefault(id(call.weight), call)
        if other is call or _same_codes(other, call):
            continue
        raise UnsupportedError(
            f"{other.name}, {call.name}",
            "layers that share a weight have the same codes of it in every capture",
            found="another type, another axis of scales, or a BatchNorm folded into the weight",
            next_step="give each layer a weight of its own",
        )


def _same_codes(one: LinearCall, other: LinearCall) -> bool:
    facts = [
        (call.unit.weight_quantizer.qtype, call.unit.weight_quantizer.granularity)
        for call in (one, other)
    ]
    return facts[0] == facts[1] and "fold" not in (one.unit.batch_norm, other.unit.batch_norm)
