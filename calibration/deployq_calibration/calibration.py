"""Post-training calibration: weights from their values, activations from streamed data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.integers import linear_calls
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel, disable_quantizers
from deployq.graph.scales.weight_lattice import set_weight_grid
from deployq_calibration.observers import make_observer
from deployq_calibration.snapping import snap_activation
from deployq_calibration.watch import Findings, findings, watch_all
from deployq_calibration.weights import check_weight_method, weight_qparams

Batches: TypeAlias = Callable[[], Iterable[Sequence[Tensor]]]
"""Starts one pass over the data: batches, each with one tensor an input."""


def calibrate_model(
    prepared: PreparedModel,
    batches: Batches,
    *,
    activations: str = "mse",
    weights: str = "mse",
    progress: Callable[[str], None] = lambda step: None,
) -> Findings:
    """Set every scale and zero point of a prepared model, in place; pinned ones stay.

    Activations are observed on the float network, in one pass. Where the contract demands a
    lattice, activation scales are put on it, then weight scales.

    Args:
        prepared: from ``prepare``.
        batches: called once.
        activations: an observer: ``minmax``, ``mse``, ``percentile[:99.99]``, ``entropy`` or
            ``moving_average[:0.01]``, which depends on the order of the batches.
        weights: ``minmax``, ``mse`` or ``percentile[:99.99]``.
        progress: told of each batch.

    Returns:
        What the data left unsaid: tensors and channels that were always zero, outliers.

    Raises:
        InputError: no data, data or weights that are not finite, or an unknown observer.
        QuantizationError: scales that the contract's multiplier cannot express.
    """
    check_weight_method(weights)
    make_observer(activations)
    for call in linear_calls(prepared):
        _check_finite(f"{call.name}.weight", call.seen_weight())
    watchers, unhook = watch_all(prepared, lambda: make_observer(activations))
    disable_quantizers(prepared.module)
    try:
        with evaluation_mode(prepared.module), torch.no_grad():
            _stream(prepared, batches, progress)
    finally:
        unhook()
        disable_quantizers(prepared.module, False)
    section = prepared.profile.activation
    for name, quantizer in prepared.quantizers().items():
        observer = watchers[name].observer
        grid = snap_activation(quantizer, observer, observer.qparams(quantizer), section)
        _check_finite(name, grid[0])
        quantizer.set_qparams(*grid)
    calibrate_weights(prepared, weights)
    return findings(prepared, watchers)


def calibrate_weights(prepared: PreparedModel, method: str) -> None:
    """Set the weight scales from the weights, a folded BatchNorm included.

    Where the contract demands a lattice, the activations must have their scales.

    Raises:
        InputError: an unknown method, or weights that are not finite.
        QuantizationError: scales that the contract's multiplier cannot express.
    """
    check_weight_method(method)
    for call in linear_calls(prepared):
        weight = call.seen_weight()
        _check_finite(f"{call.name}.weight", weight)
        set_weight_grid(prepared, call, weight_qparams(weight, call.unit.weight_quantizer, method))


def _check_finite(name: str, values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise InputError(
            name,
            "a range is chosen from finite values",
            found="NaN or infinity",
            next_step="check the calibration data and the float model's outputs on it",
        )


def _stream(prepared: PreparedModel, batches: Batches, progress: Callable[[str], None]) -> None:
    seen = 0
    for batch in batches():
        prepared.module(*batch)
        seen += 1
        progress("calibrate")
    if not seen:
        raise InputError(
            "calibration data",
            "calibration needs at least one batch",
            found="none",
            next_step="give a callable that starts a pass over the data",
        )
