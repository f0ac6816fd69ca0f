"""Is a prepared model finished: every scale chosen, every number finite?

A scale of one that nobody chose, or a NaN, would become codes without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.batch_norm import BatchNormTensors
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.units import QuantizedLinear
from deployq.qparams import FloatArray


def check_calibrated(name: str, quantizer: FakeQuantize) -> None:
    """Refuse a quantizer whose parameters nobody chose, or that are not finite.

    Args:
        name: of its tensor.

    Raises:
        InputError: with the tensor's name.
    """
    if not quantizer.calibrated:
        raise InputError(
            name,
            "integers need a calibrated scale",
            found="the placeholder that preparation leaves",
            next_step="run deployq.calibrate",
        )
    check_finite(name, "scale", quantizer.step)


def check_finite_layer(
    name: str, unit: QuantizedLinear, weight: Tensor, rest: Sequence[Tensor | None]
) -> None:
    """Refuse a layer with a number that cannot become a code.

    Args:
        name: of the layer.
        unit: knows the epsilon of the BatchNorm.
        weight: float parameter.
        rest: bias and BatchNorm tensors, as :meth:`QuantizedLinear.forward` takes them.

    Raises:
        InputError: with the names of layer and tensor.
    """
    for part, tensor in _parts(unit, weight, rest):
        check_finite(name, part, tensor)


def _parts(
    unit: QuantizedLinear, weight: Tensor, rest: Sequence[Tensor | None]
) -> Iterator[tuple[str, Tensor]]:
    bias, *tensors = rest or (None,)
    norm = BatchNormTensors.of(*tensors)
    named = {"weight": weight, "bias": bias}
    if norm is not None:
        named.update({f"BatchNorm {field}": tensor for field, tensor in norm._asdict().items()})
        named["BatchNorm 1 / sqrt(variance + eps)"] = torch.rsqrt(norm.variance + unit.eps)
    yield from ((part, tensor) for part, tensor in named.items() if tensor is not None)


def check_finite(name: str, part: str, values: Tensor | FloatArray) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: with how many there are.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    broken = int((~np.isfinite(array)).sum())
    if broken:
        raise InputError(
            f"{name}: {part}",
            "integers are made from finite numbers",
            found=f"{broken} of {array.size} are NaN or infinite",
            next_step="train or load the model again, and calibrate it",
        )
