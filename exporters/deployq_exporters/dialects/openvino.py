"""OpenVINO's CPU plugin: signed weights around 0 in 8-bit containers, sums parted from the
convolutions before them, padding on codes, one Slice for several axes, movement without codes
between, outputs of layers in reals.

Biases stay as they are: it folds integer ones of any width into reals. So do operators in float,
which it leaves in float. Version 2026.4.1 pads channels of reals whose codes have the zero point
-128 with the real of code 0, and averages with code 0 beyond the edges: padding codes states the
code.
"""

from __future__ import annotations

from deployq_exporters.dialects.dialect import Dialect
from deployq_exporters.rewrites import (
    edge_containers,
    join_slices,
    moved_codes,
    open_outputs,
    pad_before_average,
    pad_on_codes,
    part_sums,
    signed_weights,
    widen_containers,
)

OPENVINO = Dialect(
    "openvino",
    contract="openvino-cpu",
    rewrites=(
        edge_containers.NARROW,  # first: the others change types behind the edges
        widen_containers.RULE,  # before those that know 8-bit codes only
        signed_weights.RULE,
        join_slices.RULE,
        pad_on_codes.RULE,
        pad_before_average.RULE,
        part_sums.RULE,
        moved_codes.RULE,
        open_outputs.RULE,
    ),
)
