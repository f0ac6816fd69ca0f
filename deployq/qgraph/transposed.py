"""ConvTranspose: its window, and its weights with the output channels first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from deployq.arithmetic.geometry import ConvTransposeGeometry
from deployq.arithmetic.weight_layout import outputs_first
from deployq.errors import InputError
from deployq.qgraph.values import QuantizedConstant, attributes, refuse
from deployq.qgraph.walk import Walk
from deployq.qgraph.windows import conv_geometry, pair
from deployq.qparams import IntArray, PerChannel, QParams


def conv_transpose_geometry(
    walk: Walk, node: onnx.NodeProto, kernel: Sequence[int]
) -> ConvTransposeGeometry:
    """Window of a ConvTranspose.

    Raises:
        UnsupportedError: not two axes, or pads that follow from a wanted size (``output_shape``,
            ``auto_pad`` SAME).
    """
    facts = attributes(node)
    same = str(facts.get("auto_pad", "NOTSET")).startswith("SAME")
    if same or "output_shape" in facts:
        raise refuse(
            node,
            "ConvTranspose states its pads",
            f"auto_pad {facts['auto_pad']}" if same else f"output_shape {facts['output_shape']}",
            "pads and output_padding",
            next_step="write the pads out",
        )
    window = conv_geometry(walk, node, kernel)
    extra = pair(node, facts.get("output_padding", (0, 0)))
    return ConvTransposeGeometry(
        window.strides, window.pads, window.dilations, window.groups, extra
    )


def transposed_weight(weight: QuantizedConstant, groups: int) -> tuple[IntArray, QParams]:
    """(C, O / g, kh, kw) codes as (O, C / g, kh, kw), with channel scales along axis 0.

    Axis 1 of the file has the channels of one group, so every group has the same scales.

    Raises:
        InputError: groups that do not divide C.
    """
    if weight.codes.shape[0] % groups:
        raise InputError(
            "weight",
            "groups divide the input channels",
            found=f"{weight.codes.shape[0]} channels, {groups} groups",
        )
    codes, qparams = outputs_first(weight.codes, groups), weight.qparams
    if qparams.granularity == PerChannel(1):
        qparams = replace(
            qparams,
            scale=np.tile(qparams.scale, groups),
            zero_point=np.tile(qparams.zero_point, groups),
            granularity=PerChannel(0),
        )
    return codes, qparams
