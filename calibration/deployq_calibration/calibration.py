"""Post-training calibration: weights from their values, activations from streamed data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.batch_norm import BatchNormTensors
from deployq.graph.integers import linear_calls
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel, disable_quantizers
from deployq_calibration.observers import Observer, make_observer, weight_qparams

Batches: TypeAlias = Callable[[], Iterable[Sequence[Tensor]]]
"""Starts one pass over the data: batches, each with one tensor an input."""


def calibrate_model(
    prepared: PreparedModel,
    batches: Batches,
    *,
    activations: str = "mse",
    weights: str = "mse",
    progress: Callable[[str], None] = lambda step: None,
) -> tuple[str, ...]:
    """Set every scale and zero point of a prepared model, in place; pinned ones stay.

    Activations are observed on the float network.

    Args:
        prepared: from ``prepare``.
        batches: called once for each pass.
        activations, weights: ``minmax`` or ``mse``.
        progress: told of each batch.

    Returns:
        Names of the activations that were zero on all data: their scale says nothing.

    Raises:
        InputError: no data, data that gives values that are not finite, or an unknown observer.
    """
    quantizers = prepared.quantizers()
    observers = {name: make_observer(activations) for name in quantizers}
    calibrate_weights(prepared, weights)
    disable_quantizers(prepared.module)
    try:
        with evaluation_mode(prepared.module):
            for number in range(max(observer.passes for observer in observers.values())):
                _one_pass(prepared, batches, observers, number, progress)
    finally:
        disable_quantizers(prepared.module, False)
    for name, quantizer in quantizers.items():
        scale, zero_point = observers[name].qparams(quantizer)
        _check_finite(name, scale)
        quantizer.set_qparams(scale, zero_point)
    return tuple(name for name, observer in observers.items() if observer.saw_only_zero())


def calibrate_weights(prepared: PreparedModel, method: str) -> None:
    """Set the weight scales from the weights alone; a folded BatchNorm counts.

    Raises:
        InputError: an unknown method, or weights that are not finite.
    """
    for call in linear_calls(prepared):
        _, *norm = call.rest
        weight = call.unit.scaled_weight(call.weight, BatchNormTensors.of(*norm))
        scale, zero_point = weight_qparams(weight, call.unit.weight_quantizer, method)
        _check_finite(f"{call.name}.weight", scale)
        call.unit.weight_quantizer.set_qparams(scale, zero_point)


def _check_finite(name: str, scale: Tensor) -> None:
    if not bool(torch.isfinite(scale).all()):
        raise InputError(
            name,
            "a range is chosen from finite values",
            found="NaN or infinity",
            next_step="check the calibration data and the float model's outputs on it",
        )


def _one_pass(
    prepared: PreparedModel,
    batches: Batches,
    observers: dict[str, Observer],
    number: int,
    progress: Callable[[str], None],
) -> None:
    def watch(observer: Observer) -> Callable[..., None]:
        return lambda module, args, output: observer.observe(output, number)

    quantizers = prepared.quantizers()
    handles = [
        quantizers[name].register_forward_hook(watch(observer))
        for name, observer in observers.items()
        if number < observer.passes
    ]
    seen = 0
    try:
        with torch.no_grad():
            for batch in batches():
                prepared.module(*batch)
                seen += 1
                progress("calibrate")
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise InputError(
            "calibration data",
            "calibration needs at least one batch in each pass",
            found="none",
            next_step="give a callable that starts a new pass each time it is called",
        )
