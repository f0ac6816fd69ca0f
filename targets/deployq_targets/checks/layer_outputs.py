"""Rules on what happens to the sums of a layer: the multiplier, and a clamp behind it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deployq.arithmetic.contract import Kind
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.precisions import real_multiplier
from deployq.arithmetic.thresholds import COUNTED_BITS
from deployq.errors import QuantizationError
from deployq.qgraph.floats import CLAMPS
from deployq.qgraph.nodes import Linear, MatMul
from deployq.qparams import PerBlock
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Rule, Severity
from deployq_targets.checks.weights import requantized_layers
from deployq_targets.profile import TargetProfile
from deployq_targets.words import ReluFusion


def layer_shift(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The multiplier of a layer, {requant.kind}, has right shifts from {requant.shift_min} to
    {requant.shift_max}, one for each {requant.shift_scope}.
    """
    for node in requantized_layers(file):
        requant = profile.requant.for_op(node.form_name)
        x, y = file.graph.qparams[node.inputs[0]], file.graph.qparams[node.output]
        weight = node.weight_qparams
        if requant.kind not in (Kind.FIXED, Kind.SHIFT) or x.scale.ndim or y.scale.ndim:
            continue
        if isinstance(weight.granularity, PerBlock):
            continue
        form = requant.form()
        real = real_multiplier(
            np.float32(x.scale), weight.scale, np.float32(y.scale), form.precision
        )
        try:
            choose_fixed(real, form)
        except QuantizationError as error:
            found = f"{error.where}: {error.found}"
            yield Breach(node.name, node.output, found, error.allowed, error.next_step)


def counted_output(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Sums become codes by {requant.kind}; thresholds make 8 bits at most, but for outputs of the
    network that are not requantized: {activation.io.last_wide_bits}.
    """
    wide = profile.activation.io.last_wide_bits
    for node in file.graph.nodes:
        if not isinstance(node, Linear | MatMul) or not node.writes_codes:
            continue
        counted = profile.requant.for_op(node.form_name).kind is Kind.THRESHOLDS
        bits = file.graph.qparams[node.output].qtype.bits
        if counted and bits > COUNTED_BITS and not (bits == wide and file.leaves(node.output)):
            change = "give the output fewer bits"
            yield Breach(
                node.name, node.output, f"{bits} bits: {2**bits - 1} thresholds a channel",
                f"{COUNTED_BITS} bits", change,
            )  # fmt: skip


def fused_clamp(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """A Relu or Clip behind a layer is part of it: {graph.relu_fusion}."""
    fusion = profile.graph.relu_fusion
    if fusion is ReluFusion.ALWAYS:
        return
    makers = {name: node for node in file.model.graph.node for name in node.output}
    for node in requantized_layers(file):
        border = makers.get(node.output)
        clamp = makers.get(border.input[0]) if border is not None else None
        if clamp is None or clamp.op_type not in CLAMPS:
            continue
        qtype = file.graph.qparams[node.output].qtype
        low, high = node.bounds or (qtype.qmin, qtype.qmax)
        if fusion is ReluFusion.NONE:
            yield Breach(
                node.name, node.output, clamp.op_type, "no clamp",
                "fold the clamp into the range of the output",
            )  # fmt: skip
        elif node.bounds is not None:
            yield Breach(
                node.name, node.output, f"{clamp.op_type} to codes {low}..{high}",
                f"the codes of {qtype.name}, {qtype.qmin}..{qtype.qmax}",
                "choose scale and zero point so that the range ends where the clamp does",
            )  # fmt: skip


RULES = (
    Rule(
        "layer-shift", layer_shift,
        ("requant.kind", "requant.shift_min", "requant.shift_max", "requant.shift_scope"),
        "The shifter behind the accumulator has a finite reach.",
        "A layer whose output scale is larger than 2**16 times that of its products.",
    ),
    Rule(
        "counted-output", counted_output,
        ("requant.kind", "activation.io.last_wide_bits"),
        "A channel has a threshold in memory for each code of its output but the lowest.",
        "A layer with an output of 16 bits on a target that counts thresholds.",
    ),
    Rule(
        "fused-clamp", fused_clamp, ("graph.relu_fusion",),
        "Saturation to the output's codes is free; any other clamp is an operator of its own, or "
        "keeps a runtime from fusing the layer at all.",
        "Conv and Relu in front of codes that are symmetric around 0.",
        Severity.WARNING,
    ),
)  # fmt: skip
