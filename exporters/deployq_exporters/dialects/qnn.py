"""Qualcomm HTP behind ONNX Runtime's QNN provider: unsigned activations, codes at the edges.

HTP quantizes real inputs with fewer bits than float32; the caller does that by law 1.
"""

from __future__ import annotations

from deployq_exporters.dialects.dialect import Dialect
from deployq_exporters.rewrites import (
    clamp_on_codes,
    int32_bias,
    integer_edges,
    unsigned_activations,
)

QNN = Dialect(
    "qnn",
    contract="qnn-htp",
    rewrites=(
        int32_bias.RULE,
        clamp_on_codes.RULE,
        unsigned_activations.RULE,
        integer_edges.RULE,  # last: it takes the types that the others left
    ),
)
