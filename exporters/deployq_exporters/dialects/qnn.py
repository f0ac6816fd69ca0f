"""Qualcomm HTP behind ONNX Runtime's QNN provider: unsigned activations."""

from __future__ import annotations

from deployq_exporters.dialects.dialect import Dialect
from deployq_exporters.rewrites import clamp_on_codes, int32_bias, unsigned_activations

QNN = Dialect(
    "qnn",
    contract="qnn-htp",
    rewrites=(int32_bias.RULE, clamp_on_codes.RULE, unsigned_activations.RULE),
)
