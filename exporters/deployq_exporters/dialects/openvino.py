"""OpenVINO's CPU plugin: signed weights around 0 in 8-bit containers, sums parted from the
convolutions before them.

Biases stay as they are: it folds integer ones of any width into reals.
"""

from __future__ import annotations

from deployq_exporters.dialects.dialect import Dialect
from deployq_exporters.rewrites import (
    edge_containers,
    part_sums,
    signed_weights,
    widen_containers,
)

OPENVINO = Dialect(
    "openvino",
    contract="openvino-cpu",
    rewrites=(
        edge_containers.NARROW,  # first: the others change types behind the edges
        widen_containers.RULE,
        signed_weights.RULE,  # after widening: it knows 8-bit codes only
        part_sums.RULE,
    ),
)
