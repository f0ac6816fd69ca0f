"""Post-training calibration: weights from their values, activations from streamed data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.batch_norm import BatchNormTensors
from deployq.graph.capture import read_tensor
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
) -> None:
    """Set every scale and zero point of a prepared model, in place.

    Args:
        prepared: from ``prepare``.
        batches: called once for each pass.
        activations, weights: ``minmax`` or ``mse``.
        progress: told of each batch.

    Raises:
        InputError: no data, or an unknown observer.
    """
    calibrate_weights(prepared, weights)
    quantizers = prepared.quantizers()
    observers = {name: make_observer(activations) for name in quantizers}
    training = prepared.module.training
    prepared.module.eval()
    disable_quantizers(prepared.module)
    try:
        for number in range(max(observer.passes for observer in observers.values())):
            _one_pass(prepared, batches, observers, number, progress)
    finally:
        disable_quantizers(prepared.module, False)
        prepared.module.train(training)
    for name, quantizer in quantizers.items():
        scale, zero_point = observers[name].qparams(quantizer)
        quantizer.set_qparams(scale, zero_point)


def calibrate_weights(prepared: PreparedModel, method: str) -> None:
    """Set the weight scales from the weights alone; a folded BatchNorm counts."""
    units = prepared.units()
    for node in prepared.module.graph.nodes:
        unit = units.get(node.meta.get("name")) if node.op == "call_module" else None
        if unit is None or prepared.module.get_submodule(str(node.target)) is not unit:
            continue
        tensors = [None if arg is None else read_tensor(prepared.module, arg) for arg in node.args[3:]]
        norm = BatchNormTensors(*tensors) if tensors else None  # type: ignore[arg-type] # statistics are never None
        weight = unit.scaled_weight(read_tensor(prepared.module, node.args[1]), norm)
        unit.weight_quantizer.set_qparams(*weight_qparams(weight, unit.weight_quantizer, method))


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
        raise InputError("calibration data", "calibration needs at least one batch", found="none")
