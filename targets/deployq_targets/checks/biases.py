"""Rules on biases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deployq.arithmetic.rounding import Float64Array
from deployq.qgraph.nodes import Linear
from deployq.qparams import PerBlock
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Rule
from deployq_targets.checks.weights import layers
from deployq_targets.profile import TargetProfile
from deployq_targets.tensors import BIAS_FILE_BITS, Bias
from deployq_targets.words import BiasForm, BiasScaleRule


def bias_form(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """A bias travels as {bias.form}, integer codes with {bias.bits} bits."""
    section = profile.bias
    for node in _with_bias(file):
        found = "float" if node.bias_type is None else f"int, {node.bias_type.bits} bits"
        allowed = section.form.value
        if section.form is BiasForm.INT:
            allowed += f", {min(section.bits, BIAS_FILE_BITS)} bits"
        if section.form in (BiasForm.INT, BiasForm.FLOAT) and found != allowed:
            change = (
                "store the bias as code times scale, in float32"
                if section.form is BiasForm.FLOAT
                else "quantize the bias on the scale of the rule bias-scale"
            )
            yield Breach(node.name, f"{node.name}.bias", found, allowed, change)
        if section.form is BiasForm.NONE and node.bias is not None and node.bias.any():
            change = "fold the bias into the layer behind it"
            yield Breach(node.name, f"{node.name}.bias", "a bias", "none", change)


def bias_scale(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The scale of an integer bias is {bias.scale_rule} (exponent {bias.scale_rule_exp}), within
    {bias.scale_rtol} of it; times a power of two where its {bias.bits} bits are more than 32.
    """
    section = profile.bias
    if section.scale_rule in (BiasScaleRule.FREE, BiasScaleRule.OWN_POW2):
        return
    for node in _with_bias(file):
        x, weight = file.graph.qparams[node.inputs[0]], node.weight_qparams
        if node.bias_qparams is None or x.scale.ndim or isinstance(weight.granularity, PerBlock):
            continue
        product, stated = np.asarray(x.scale * weight.scale), node.bias_qparams.scale
        if stated.size not in (1, product.size) and product.size != 1:
            change = "quantize the bias with a scale for each scale of the weight"
            yield Breach(node.name, f"{node.name}.bias", f"{stated.size} scales",
                         f"{product.size} scales", change)  # fmt: skip
            continue
        ratio = stated.astype(np.float64) / product.astype(np.float64)
        shifts = np.log2(ratio)
        wanted = _exponent(section, shifts)
        off = np.abs(ratio / 2.0**wanted - 1)
        if off.max() > max(section.scale_rtol, np.finfo(np.float32).eps):
            worst = off.argmax()
            allowed = np.broadcast_to(2.0**wanted, ratio.shape).flat[worst]
            yield Breach(
                node.name, f"{node.name}.bias", f"s_x s_w times {ratio.flat[worst]:.6g}",
                f"s_x s_w times {allowed:g}", "quantize the bias anew with this scale",
            )  # fmt: skip


def bias_zero_point(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The zero point of an integer bias is 0."""
    for node in _with_bias(file):
        zero_points = node.bias_qparams.zero_point if node.bias_qparams else np.zeros(1, np.int64)
        if zero_points.any():
            found, change = str(zero_points[zero_points != 0][0]), "quantize the bias symmetrically"
            yield Breach(node.name, f"{node.name}.bias", found, "0", change)


def _exponent(section: Bias, shifts: Float64Array) -> Float64Array:
    if section.scale_rule is BiasScaleRule.ACT_TIMES_WEIGHT_POW2:
        return np.asarray(section.scale_rule_exp or 0, np.float64)
    if section.scale_rule is BiasScaleRule.ACT_TIMES_WEIGHT_SHIFTED:
        return np.asarray(max(0.0, np.rint(np.median(shifts))))
    return np.asarray(np.clip(np.rint(shifts), 0.0, max(0, section.bits - BIAS_FILE_BITS)))


def bias_channels(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """A layer with a bias has at most {bias.max_channels} output channels."""
    limit = profile.bias.max_channels
    for node in _with_bias(file):
        assert node.bias is not None
        if limit is not None and node.bias.any() and node.bias.size > limit:
            yield Breach(
                node.name, f"{node.name}.bias", str(node.bias.size), f"up to {limit}",
                "split the layer over its outputs",
            )  # fmt: skip


def _with_bias(file: CheckedFile) -> Iterator[Linear]:
    return (node for node in layers(file) if node.bias is not None)


RULES = (
    Rule(
        "bias-form", bias_form, ("bias.form", "bias.bits"),
        "The adder behind the multipliers reads biases of one width; some parsers want reals and "
        "quantize them by themselves.",
        "An int32 bias for a parser that takes float.",
    ),
    Rule(
        "bias-scale", bias_scale,
        ("bias.scale_rule", "bias.scale_rule_exp", "bias.scale_rtol", "bias.bits"),
        "The bias is added to the sum of products, whose step is s_x s_w: another scale is read as "
        "this one, and every output is off by a constant.",
        "A bias that was quantized with the scale of the layer's output.",
    ),
    Rule(
        "bias-zero-point", bias_zero_point, (),
        "The bias is added to the sum of products as it is: no unit subtracts anything from it.",
        "A uint8 bias around 128.",
    ),
    Rule(
        "bias-channels", bias_channels, ("bias.max_channels",),
        "The bias memory has this many entries a layer.",
        "A classifier of 1000 outputs with a bias.",
    ),
)  # fmt: skip
