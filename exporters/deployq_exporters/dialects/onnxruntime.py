"""ONNX Runtime's CPU provider: 8-bit containers, int32 biases, clamps and padding on
codes, unsigned activations, float operators that stay float.
"""

from __future__ import annotations

from deployq_exporters.dialects.dialect import Dialect
from deployq_exporters.rewrites import (
    clamp_on_codes,
    edge_containers,
    int32_bias,
    keep_float,
    pad_on_codes,
    resize_to_gather,
    unsigned_activations,
    widen_containers,
)

ONNXRUNTIME = Dialect(
    "onnxruntime",
    contract="ort-cpu",
    rewrites=(
        edge_containers.RULE,  # first: the others change types behind the edges
        widen_containers.RULE,
        int32_bias.RULE,
        clamp_on_codes.RULE,  # after widening: it takes 8-bit containers
        unsigned_activations.RULE,  # after widening: it knows 8-bit codes only
        pad_on_codes.RULE,  # last: the pad value is the final zero point
        resize_to_gather.RULE,
        keep_float.RULE,
    ),
)
