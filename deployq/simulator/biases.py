"""Where the bias of a layer goes: into the sums, or behind the multiplication."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deployq.arithmetic.contract import Contract, Kind
from deployq.arithmetic.requant_words import BiasOrder
from deployq.arithmetic.rounding import Float64Array
from deployq.errors import UnsupportedError
from deployq.qgraph.nodes import Linear
from deployq.qparams import IntArray, QParams


@dataclass(frozen=True, eq=False)
class PlacedBias:
    """One of the two, or neither.

    Args:
        steps: (O,) whole steps of ``s_x * s_w`` that are part of the sums.
        reals: float64 (O,) that are added after the multiplication.
    """

    steps: IntArray | None = None
    reals: Float64Array | None = None


def placed_bias(node: Linear, scales: tuple[Any, Any], contract: Contract) -> PlacedBias:
    """What a contract does with the bias of a layer.

    Real arithmetic adds what the file states where the file states it.

    Args:
        scales: float32 of the input and of the weight, the second one or (O,).

    Raises:
        UnsupportedError: the bias is no whole number of the steps that the sums count.
    """
    if node.bias is None:
        return PlacedBias()
    bias = node.bias.astype(np.float64)
    late = contract.bias_order is BiasOrder.AFTER_SCALE
    if node.bias_step is None:
        step = np.asarray(np.float32(scales[0]) * np.asarray(scales[1], np.float32), np.float64)
        return PlacedBias(reals=bias * step) if late else PlacedBias(steps=node.bias)
    if late or contract.form(node.form_name).kind is Kind.EXACT:
        return PlacedBias(reals=bias * node.bias_step)
    raise UnsupportedError(
        f"{node.name}.bias",
        "the bias scale is the input scale times the weight scale, times a power of two from 1",
        found=str(node.bias_step[:3]),
        allowed=f"that, where {contract.name} adds the bias to the sums",
        next_step="quantize the bias with this scale",
    )


def summed_layer(node: Linear, qx: QParams, contract: Contract) -> Linear:
    """The layer with the bias that its sums hold under a contract.

    Args:
        qx: parameters of what it reads.

    Raises:
        UnsupportedError: as :func:`placed_bias`.
    """
    steps = placed_bias(node, (qx.scale[()], node.weight_qparams.scale), contract).steps
    return node if steps is node.bias else replace(node, bias=steps, bias_step=None)
