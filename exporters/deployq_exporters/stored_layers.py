"""The linear layers of a calibrated model as the file stores them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.weight_layout import inputs_first
from deployq.graph.batch_norm import LinearCodes
from deployq.graph.integers import LayerIntegers, layer_integers
from deployq.graph.preparation import PreparedModel
from deployq.graph.units import QuantizedLinear, channel_axis
from deployq.qparams import IntArray, PerChannel, PerTensor, QParams
from deployq.qtypes import QType


@dataclass(frozen=True)
class StoredLayer:
    """Codes and parameters of one layer, in the layout of its operator.

    Args:
        op_type: ``Conv``, ``ConvTranspose`` or ``Gemm``.
        geometry: of a convolution.
        weight: (O, C / g, kh, kw), transposed (C, O / g, kh, kw), or (O, C).
        weight_params: per tensor, or along the axis of the output channels.
        bias: (O,), on the scale ``s_x s_w 2**k``, k of the layer, or on that of its output times
            a power of two where the target adds it after the multiplication.
        bias_params: per tensor or along axis 0.
        real_bias: the file holds the reals that the bias codes stand for.
    """

    op_type: str
    geometry: ConvGeometry
    weight: IntArray
    weight_params: QParams
    bias: IntArray
    bias_params: QParams
    real_bias: bool = False


def stored_layers(prepared: PreparedModel) -> dict[str, StoredLayer]:
    """Every linear layer by its name.

    Raises:
        InputError, UnsupportedError: as :func:`deployq.graph.integers.layer_integers`.
    """
    units = prepared.units()
    return {name: stored(units[name], layer) for name, layer in layer_integers(prepared).items()}


def stored(unit: QuantizedLinear, layer: LayerIntegers) -> StoredLayer:
    """One layer, from its integers."""
    weight, params = layer.codes.codes, layer.weight
    if unit.op_type == "ConvTranspose":
        weight = inputs_first(weight, unit.geometry.groups)
        if isinstance(params.granularity, PerChannel):
            params = replace(params, granularity=PerChannel(channel_axis(unit.op_type)))
    bias, bias_params = _bias(QType(unit.bias_type.bits, True), layer.codes)
    return StoredLayer(
        unit.op_type, unit.geometry, weight, params, bias, bias_params,
        real_bias=unit.bias_type.real,
    )  # fmt: skip


def _bias(qtype: QType, codes: LinearCodes) -> tuple[IntArray, QParams]:
    late, shift = codes.late, codes.bias_shift
    stored = codes.bias >> shift if late is None else late.codes
    scale = np.ldexp(codes.bias_scale, shift) if late is None else late.scale
    granularity = PerChannel(0) if scale.ndim else PerTensor()
    return stored, QParams(qtype, scale, granularity=granularity)
