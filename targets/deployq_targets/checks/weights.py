"""Rules on constant operands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deployq.arithmetic.fan_in import absolute_sums
from deployq.qgraph.nodes import Linear, MatMul
from deployq.qtypes import QType
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Rule, value_text
from deployq_targets.checks.forms import scale_form_breach, sharing
from deployq_targets.checks.shapes import group_of
from deployq_targets.profile import TargetProfile
from deployq_targets.tensors import zero_points
from deployq_targets.words import Sharing


def layers(file: CheckedFile) -> Iterator[Linear]:
    """Every layer with constant weights."""
    return (node for node in file.graph.nodes if isinstance(node, Linear))


def requantized_layers(file: CheckedFile) -> Iterator[Linear]:
    """Those whose sums become codes."""
    return (node for node in layers(file) if node.writes_codes)


def weight_width(node: Linear, profile: TargetProfile) -> int | None:
    """The least width of the profile that holds the codes of a layer; None: none does."""
    low, high = int(node.weight.min(initial=0)), int(node.weight.max(initial=0))
    stored = node.weight_qparams.qtype
    section = profile.weight
    for bits in sorted(section.bits):
        for qtype in section.qtypes(bits):
            if qtype.signed == stored.signed and qtype.qmin <= low and high <= qtype.qmax:
                return bits
    return None


def weight_type(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Codes of weights are of the types {weight.types}."""
    for node in layers(file):
        stored = node.weight_qparams.qtype
        rule = profile.op_rule(node.op_type, group_of(node))
        widths = rule.weight_bits if rule and rule.weight_bits else profile.weight.bits
        named = [QType.parse(name) for name in profile.weight.types]
        allowed = [qtype for qtype in named if qtype.bits in widths]
        width = weight_width(node, profile)
        fits = width is not None and any(
            qtype.bits >= width and qtype.signed == stored.signed for qtype in allowed
        )
        if not fits:
            low, high = int(node.weight.min()), int(node.weight.max())
            yield Breach(
                node.name, f"{node.name}.weight", f"{stored.name} with codes {low}..{high}",
                value_text(tuple(qtype.name for qtype in allowed)),
                "quantize this layer to a width of the list",
            )  # fmt: skip


def one_width(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Layers may differ in the width of their weights: {weight.bits_per_layer}."""
    if profile.weight.bits_per_layer:
        return
    widths = {node.name: node.weight_qparams.qtype.bits for node in layers(file)}
    first = next(iter(widths.values()), 0)
    for name, bits in widths.items():
        if bits != first:
            change = f"quantize every layer to {max(widths.values())} bits"
            yield Breach(name, f"{name}.weight", f"{bits} bits", f"{first} bits", change)
            return


def weight_zero_point(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The zero point of a weight is {weight.zero_point}."""
    for node in layers(file):
        found = node.weight_qparams.zero_point
        low, high = zero_points(profile.weight.zero_point, node.weight_qparams.qtype)
        outside = found[(found < low) | (found > high)]
        if outside.size:
            allowed = str(low) if low == high else f"{low}..{high}"
            change = "quantize the weights symmetrically"
            yield Breach(node.name, f"{node.name}.weight", str(outside.flat[0]), allowed, change)


def equal_zero_points(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """All channels of a weight have the same zero point: {weight.equal_zero_points}."""
    for node in layers(file):
        found = np.unique(node.weight_qparams.zero_point)
        if profile.weight.equal_zero_points and found.size > 1:
            yield Breach(
                node.name, f"{node.name}.weight", f"{found[0]} to {found[-1]}", "one value",
                "quantize the weights symmetrically",
            )  # fmt: skip


def weight_granularity(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Weight scales are shared per {weight.granularity}."""
    for node in layers(file):
        found = sharing(node.weight_qparams.granularity)
        one = node.weight_qparams.scale.size == 1
        if found not in profile.weight.granularity and not one:
            step = {
                Sharing.TENSOR: "give all channels the largest of their scales",
                Sharing.CHANNEL: "repeat the scale for each channel",
            }.get(profile.weight.granularity[0], "quantize per block")
            allowed = value_text(profile.weight.granularity)
            yield Breach(node.name, f"{node.name}.weight", found.value, allowed, step)


def weight_scale(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Scales of weights have the form {weight.scale_form}, exponents {weight.scale_exp_range}."""
    section = profile.weight
    for node in layers(file):
        scale = node.weight_qparams.scale
        for found in scale_form_breach(scale, section.scale_form, section.scale_exp_range):
            yield Breach(node.name, f"{node.name}.weight", *found)


def constant_weights(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Weights are stored in the file, not computed: {weight.constant}; hosts have no such limit."""
    if profile.weight.constant and not profile.unlisted_status.computes_in_float:
        for node in file.graph.nodes:
            if isinstance(node, MatMul):
                yield Breach(
                    node.name, node.inputs[1], "a product of two computed tensors",
                    "a stored weight", "run this product beside the target",
                )  # fmt: skip


def sum_of_codes(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The sum of absolute codes over an output channel, by activation width:
    {weight.sum_abs_max}.
    """
    for node in layers(file):
        bits = file.graph.qparams[node.inputs[0]].qtype.bits
        limit = profile.weight.sum_abs_max.get(bits)
        if limit is None:
            continue
        sums = absolute_sums(node.weight.astype(np.int64), node.channel_axis)
        if sums.max(initial=0) > limit:
            channel = int(sums.argmax())
            yield Breach(
                node.name, f"{node.name}.weight, output channel {channel}", str(sums[channel]),
                f"up to {limit}", "split the layer over its inputs, or give it fewer bits",
            )  # fmt: skip


RULES = (
    Rule(
        "weight-type", weight_type,
        ("weight.types", "weight.bits", "weight.qmin", "op"),
        "The weight decoder unpacks these widths and no others.",
        "8-bit weights for an array of 4-bit multipliers.",
    ),
    Rule(
        "one-weight-width", one_width, ("weight.bits_per_layer",),
        "The width is set once for the whole model.",
        "A 4-bit network whose last layer has 8 bits.",
    ),
    Rule(
        "weight-zero-point", weight_zero_point, ("weight.zero_point",),
        "A zero point of a weight multiplies with every activation; hardly a chip has it.",
        "u8 weights around 128 for signed multipliers.",
    ),
    Rule(
        "equal-weight-zero-points", equal_zero_points, ("weight.equal_zero_points",),
        "The kernel takes one number for the whole layer.",
        "Per-channel asymmetric weights.",
    ),
    Rule(
        "weight-granularity", weight_granularity, ("weight.granularity",),
        "One multiplier register a layer, or one for each output channel.",
        "Per-channel scales for a chip with one multiplier a layer.",
    ),
    Rule(
        "weight-scale", weight_scale, ("weight.scale_form", "weight.scale_exp_range"),
        "Where requantization is a shift, only scales that are powers of two are exact.",
        "Weights calibrated with any scale for a shifting chip.",
    ),
    Rule(
        "constant-weights", constant_weights, ("weight.constant", "graph.unlisted_ops"),
        "Weights are loaded before the inference starts.",
        "The product of queries and keys of an attention.",
    ),
    Rule(
        "sum-of-codes", sum_of_codes, ("weight.sum_abs_max",),
        "A narrow adder tree holds the sum of a channel only up to this.",
        "A wide layer of large codes behind 8-bit activations.",
    ),
)  # fmt: skip
