"""Rules on computed tensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deployq.qgraph.nodes import Node, Rescale
from deployq.qparams import QParams
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Rule, value_text
from deployq_targets.checks.forms import scale_form_breach, sharing, zero_point_breach
from deployq_targets.profile import TargetProfile


def activation_type(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Codes of activations are of the types {activation.types}."""
    wide = profile.activation.io.last_wide_bits
    allowed = [t for bits in profile.activation.bits for t in profile.activation_qtypes(bits)]
    for name, qtype in file.activations.items():
        low, high = file.ranges[name].low, file.ranges[name].high
        if qtype.bits == wide and file.leaves(name):
            continue
        held = (t for t in allowed if profile.container.holder(t) == qtype)
        if not any(t.qmin <= low and high <= t.qmax for t in held):
            yield Breach(
                _node(file, name), name, f"{qtype.name} with codes {low}..{high}",
                value_text(profile.activation.types), "quantize this tensor to a type of the list",
            )  # fmt: skip


def activation_granularity(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Activation scales are shared per {activation.granularity}."""
    allowed = profile.activation.granularity
    for name in file.activations:
        found = sharing(file.graph.qparams[name].granularity)
        if found not in allowed:
            change = f"quantize this tensor per {allowed[0]}"
            yield Breach(_node(file, name), name, found.value, value_text(allowed), change)


def activation_zero_point(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The zero point of an activation is {activation.zero_point}."""
    for name, qparams in _activations(file):
        for found in zero_point_breach(qparams, profile.activation.zero_point):
            yield Breach(_node(file, name), name, *found)


def activation_scale(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Scales of activations have the form {activation.scale_form}, with exponents
    {activation.scale_exp_range}.
    """
    section = profile.activation
    for name, qparams in _activations(file):
        for found in scale_form_breach(qparams.scale, section.scale_form, section.scale_exp_range):
            yield Breach(_node(file, name), name, *found)


def fixed_output(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Operators with a fixed output grid have it: {activation.fixed_output}."""
    for name, node in file.makers.items():
        qparams = file.graph.qparams[name]
        fixed = profile.fixed_output(node.op_type, qparams.qtype)
        if fixed is None or qparams.scale.ndim:
            continue
        found = (float(qparams.scale), int(qparams.zero_point))
        if found != (float(np.float32(fixed.scale)), fixed.zero_point):
            yield Breach(
                node.name, name, f"scale {found[0]:g}, zero point {found[1]}",
                f"scale {fixed.scale:g}, zero point {fixed.zero_point}",
                "give the output these parameters",
            )  # fmt: skip


def same_parameters(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Inputs and output of {graph.same_qparams} share scale and zero point."""
    for name, node in file.makers.items():
        moved = file.makers.get(node.inputs[0]) if isinstance(node, Rescale) else node
        if moved is None or moved.op_type not in profile.graph.same_qparams:
            continue  # a move onto another grid is read as a move and a change of scale
        out = file.graph.qparams[name]
        for operand in moved.inputs:
            if operand in file.graph.qparams and not _equal(file.graph.qparams[operand], out):
                yield Breach(
                    moved.name, operand, _text(file.graph.qparams[operand]), _text(out),
                    "give all of them the widest of these grids",
                )  # fmt: skip


def _equal(a: QParams, b: QParams) -> bool:
    return bool(np.array_equal(a.scale, b.scale) and np.array_equal(a.zero_point, b.zero_point))


def _text(qparams: QParams) -> str:
    if qparams.scale.ndim:
        return f"{qparams.scale.size} scales"
    return f"scale {float(qparams.scale):g}, zero point {int(qparams.zero_point)}"


def _activations(file: CheckedFile) -> Iterator[tuple[str, QParams]]:
    """Computed tensors with one scale; of others the granularity alone is looked at."""
    found = ((name, file.graph.qparams[name]) for name in file.activations)
    return ((name, qparams) for name, qparams in found if not qparams.scale.ndim)


def _node(file: CheckedFile, tensor: str) -> str:
    maker: Node | None = file.makers.get(tensor)
    return maker.name if maker else ""


RULES = (
    Rule(
        "activation-type", activation_type,
        ("activation.bits", "activation.types", "activation.narrow_range",
         "activation.io.last_wide_bits"),
        "The multipliers read activations of these widths and signs.",
        "A u8 tensor on a chip whose multipliers are signed.",
    ),
    Rule(
        "activation-granularity", activation_granularity, ("activation.granularity",),
        "A sum runs over all inputs of an output: their scales leave it only where they are one.",
        "An activation with a scale for each channel.",
    ),
    Rule(
        "activation-zero-point", activation_zero_point, ("activation.zero_point",),
        "A zero point costs a sum over the inputs of each output; many chips leave it out.",
        "An asymmetric activation on a symmetric chip.",
    ),
    Rule(
        "activation-scale", activation_scale,
        ("activation.scale_form", "activation.scale_exp_range"),
        "Where requantization is a shift, only scales that are powers of two are exact.",
        "A scale of 0.013 on a chip that shifts.",
    ),
    Rule(
        "fixed-output", fixed_output, ("activation.fixed_output",),
        "A table or an approximation in hardware has its output grid built in.",
        "A Softmax whose output scale is 0.0039 instead of 1/256.",
    ),
    Rule(
        "same-parameters", same_parameters, ("graph.same_qparams",),
        "An operator that only moves codes has no multiplier to change their scale with.",
        "A MaxPool whose output was calibrated apart from its input.",
    ),
)  # fmt: skip
