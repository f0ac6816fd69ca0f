"""Weights and biases of a layer as constants of the file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from deployq.qgraph.nodes import Linear
from deployq.qparams import IntArray, PerChannel, PerTensor, QParams
from deployq.qtypes import QType
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.writing import Writing

S32 = QType(32, signed=True)
BIASES: dict[int, type[np.signedinteger[Any]]] = {8: np.int32, 16: np.int64}
"""Width of the input's codes to the integers of the bias."""


def stored_weight(writing: Writing, node: Linear, codes: IntArray, axis: int) -> int:
    """The weights in the file's order of axes; ``axis`` is that of the output channels."""
    qparams = node.weight_qparams
    if isinstance(qparams.granularity, PerChannel):
        qparams = replace(qparams, granularity=PerChannel(axis))
    return writing.file.constant(f"{node.output}.weight", codes.astype(np.int8), qparams)


def stored_bias(writing: Writing, node: Linear, outputs: int) -> int:
    """Codes of scale ``s_x * s_w``, zeros where the layer has none.

    Raises:
        UnsupportedError: a code of more than 32 bits beside 8-bit activations.
    """
    codes = np.zeros(outputs, np.int64) if node.bias is None else node.bias
    x = writing.qparams(node.inputs[0])
    kind = BIASES[x.qtype.bits]
    if kind is np.int32 and int(np.abs(codes).max(initial=0)) > S32.qmax:
        raise refuse(
            node,
            "the bias of a layer of 8-bit codes has 32 bits",
            found=f"a code of magnitude {np.abs(codes).max()}",
            allowed=str(S32),
            next_step="raise the scale of this layer's weights",
        )
    scale = x.scale * node.weight_qparams.scale
    granularity = PerChannel(0) if scale.ndim else PerTensor()
    qparams = QParams(S32, scale, granularity=granularity)
    return writing.file.constant(f"{node.output}.bias", codes.astype(kind), qparams)
