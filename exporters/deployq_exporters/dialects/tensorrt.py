"""TensorRT and TensorRT for RTX: biases in reals, weights in bytes but for weight-only products.

Symmetric int8 is the profile's matter: a file with uint8 codes is left as it is, and
``deployq check --target tensorrt`` says so.
"""

from __future__ import annotations

from deployq_exporters.dialects.dialect import Dialect
from deployq_exporters.rewrites import float_bias, widen_weights

TENSORRT = Dialect("tensorrt", contract="tensorrt", rewrites=(widen_weights.RULE, float_bias.RULE))
