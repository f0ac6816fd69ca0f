"""A network as a function of its quantized weights: layers compute with tensors that are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.finished import check_calibrated
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel


@torch.no_grad()
def quantized_weights(prepared: PreparedModel) -> dict[str, Tensor]:
    """``Q(w)`` of every linear layer by name, float32, with gamma / sigma in it where that folds.

    Raises:
        InputError: no linear layer on a grid, or a quantizer that is not calibrated.
    """
    for name, quantizer in prepared.quantizers().items():
        check_calibrated(name, quantizer)
    found = {}
    for call in linear_calls(prepared):
        check_calibrated(f"{call.name}.weight", call.unit.weight_quantizer)
        found[call.name] = call.unit.weight_quantizer(call.seen_weight())
    if not found:
        raise InputError(
            "the prepared model",
            "a loss surface is over quantized weights",
            found="no linear layer on a grid",
            next_step="keep fewer layers in float",
        )
    return found


@contextmanager
def given_weights(prepared: PreparedModel, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """For the block, each layer takes this in place of ``Q(w)``, in training and evaluation mode.

    The float weights and their quantizers are bypassed; gradients reach the given tensors.

    Args:
        weights: one for each layer that :func:`quantized_weights` names, of its shape.
    """
    calls = linear_calls(prepared)
    quantizers = [(call.unit.weight_quantizer, weights[call.name]) for call in calls]
    handles = [q.register_forward_hook(_instead(weight)) for q, weight in quantizers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _instead(weight: Tensor) -> Callable[[Any, Any, Any], Tensor]:
    return lambda module, inputs, output: weight
