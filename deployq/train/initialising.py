"""Where learned step sizes begin: from the mean magnitude of what they quantize.

Esser et al. 2020 (arXiv 1902.08153), section 2.1: ``s = 2 <|v|> / sqrt(Q_P)``, of the initial
weights, and of the first batch of activations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.finished import check_finite
from deployq.graph.integers import linear_calls
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel, disable_quantizers
from deployq.graph.scales.ranges import SMALLEST_SCALE
from deployq.graph.scales.weight_lattice import set_weight_grid
from deployq.graph.weight_rows import weight_rows

METHODS = ("lsq",)


def initialise_scales(
    prepared: PreparedModel, method: str = "lsq", batch: Sequence[Tensor] = ()
) -> None:
    """Set the scales that learning starts from, in place; pinned ones stay.

    Zero points stay as they are: LSQ has none, so a free one is calibration's. Where the target
    has a lattice, scales start on it.

    Args:
        prepared: any prepared model; calibrated before, where only the weights are set.
        method: ``lsq``.
        batch: one tensor an input of the network, whose activations are measured in float; empty
            leaves the activations' scales.

    Raises:
        InputError: another method, weights or activations that are not finite, or an activation
            without a scale where the target has a lattice.
        QuantizationError: scales that the contract's multiplier cannot express.
    """
    if method not in METHODS:
        raise InputError(
            "initialise_scales",
            "a method is known",
            found=method,
            allowed=", ".join(METHODS),
            next_step="correct the name",
        )
    if batch:
        means = _mean_magnitudes(prepared, batch)
        for name, quantizer in prepared.quantizers().items():
            check_finite(name, "mean magnitude", means[name])
            start = quantizer.nearest_scale(_start(quantizer, means[name]))
            quantizer.set_qparams(start, quantizer.zero_point)
    for call in linear_calls(prepared):
        quantizer = call.unit.weight_quantizer
        means_of_rows = weight_rows(call.seen_weight(), quantizer).abs().mean(1)
        check_finite(call.name, "weight", means_of_rows)
        start = _start(quantizer, means_of_rows).reshape(quantizer.scale.shape)
        set_weight_grid(prepared, call, (start, quantizer.zero_point.cpu()))


def _start(quantizer: FakeQuantize, mean: Tensor) -> Tensor:
    """float32 ``2 <|v|> / sqrt(Q_P)``, not above the quantizer's limit."""
    start: Tensor = 2 * mean / quantizer.codes_above_zero**0.5
    return start.clamp(SMALLEST_SCALE, quantizer.scale_limit).float()


def _mean_magnitudes(prepared: PreparedModel, batch: Sequence[Tensor]) -> dict[str, Tensor]:
    """float64 ``<|v|>`` of every grid, over all tensors that share it."""
    seen: dict[str, list[Tensor]] = {name: [] for name in prepared.quantizers()}
    handles = [
        quantizer.register_forward_hook(
            lambda module, args, output, seen=seen[name]: seen.append(output.abs().double())
        )
        for name, quantizer in prepared.quantizers().items()
    ]
    disable_quantizers(prepared.module)
    try:
        with evaluation_mode(prepared.module), torch.no_grad():
            prepared.module(*batch)
    finally:
        disable_quantizers(prepared.module, False)
        for handle in handles:
            handle.remove()
    return {
        name: torch.cat([value.flatten() for value in values]).mean()
        for name, values in seen.items()
    }
