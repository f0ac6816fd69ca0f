"""Which words of a profile preparation and lowering obey; every other one is refused by name.

A profile may state more than deployq carries: the schema describes chips, and code grows after it.
A word that is read and then ignored would make every later check pass for the wrong reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from deployq.arithmetic.addends import JOINING_KINDS, joins
from deployq.arithmetic.requant_words import BiasOrder
from deployq.errors import ProfileError
from deployq.graph.bias_type import ACCUMULATOR_BITS
from deployq.qgraph.floats import MATRIX, PRODUCTS
from deployq.qtypes import QType
from deployq_targets import TargetProfile
from deployq_targets.inequality import POSITION_NAMES, SHAPE_NAMES, parse_inequality
from deployq_targets.tensors import zero_points
from deployq_targets.words import (
    BiasForm,
    BiasScaleRule,
    Bound,
    Format,
    Layout,
    ScaleForm,
    Sharing,
    Subbyte,
    Symmetry,
    ZeroPointInput,
)

LOWEST_OPSET = 21
"""Lowering writes no older ONNX opset."""

LOWEST_IR = 10
"""ONNX IR version of that opset."""

BIAS_BITS = (8, 16, 32)
"""Widths of the bias codes that lowering writes."""

CHANNEL_AXES: dict[str, tuple[int | str, ...]] = {
    "Conv": (0,),
    "ConvTranspose": (1,),
    "Gemm": (0, "n"),
}
"""Axis of the output channels in the weights that lowering writes (Gemm with transB = 1)."""


@dataclass(frozen=True)
class Limit:
    """What deployq carries of one key.

    Args:
        key: dotted path in the profile.
        carried: True for a value that is obeyed.
        allowed: the obeyed values, as text.
    """

    key: str
    carried: Callable[[Any], bool]
    allowed: str


def _text(value: object) -> str:
    """A value as a profile writes it."""
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return "absent" if value is None else str(value)


def _one_of(key: str, *values: Any) -> Limit:
    return Limit(key, lambda found: found in values, " or ".join(map(_text, values)))


def _at_least(key: str, low: int) -> Limit:
    return Limit(key, lambda found: found is None or found >= low, f"{low} and more, or absent")


LIMITS: tuple[Limit, ...] = (
    _one_of("container.format", Format.ONNX_QDQ),
    _at_least("container.opset_max", LOWEST_OPSET),
    _at_least("container.ir_max", LOWEST_IR),
    _one_of("container.scalar_rank", None, 0),
    _one_of("container.zero_point_input", ZeroPointInput.REQUIRED, ZeroPointInput.OPTIONAL),
    _one_of("container.layout", Layout.NCHW),
    Limit("activation.granularity", lambda found: Sharing.TENSOR in found, "tensor among them"),
    _one_of("activation.io.float_edges", True),
    Limit(
        "weight.granularity",
        lambda found: Sharing.TENSOR in found or Sharing.CHANNEL in found,
        "tensor or channel among them",
    ),
    _one_of("weight.symmetry", Symmetry.SYMMETRIC, Symmetry.ANY),
    _one_of("bias.form", BiasForm.INT, BiasForm.FLOAT),
    Limit(
        "bias.bits",
        lambda found: found in BIAS_BITS or found > max(BIAS_BITS),
        f"{' or '.join(map(_text, BIAS_BITS))}, or more",
    ),
    _one_of(
        "bias.scale_rule",
        BiasScaleRule.ACT_TIMES_WEIGHT,
        BiasScaleRule.ACT_TIMES_WEIGHT_POW2,
        BiasScaleRule.ACT_TIMES_WEIGHT_SHIFTED,
        BiasScaleRule.FREE,
    ),
    _one_of("accumulator.bound", Bound.WEIGHTS),
)


@dataclass(frozen=True)
class Unobeyed:
    """A value that nothing would obey."""

    key: str
    found: str
    allowed: str


Finder: TypeAlias = Callable[[TargetProfile], Iterator[Unobeyed]]


def refuse_unobeyed(profile: TargetProfile) -> None:
    """Refuse a profile with a word that preparation and lowering do not obey.

    Raises:
        ProfileError: the first such word, and how many follow.
    """
    found = [unobeyed for finder in FINDERS for unobeyed in finder(profile)]
    if not found:
        return
    first = found[0]
    more = f"; {len(found) - 1} more to mend after it" if len(found) > 1 else ""
    raise ProfileError(
        f"{profile.name}: {first.key}",
        "deployq does not carry this yet",
        found=first.found,
        allowed=first.allowed,
        next_step=f"change {first.key}, or choose a target without it{more}",
    )


def _beyond_limits(profile: TargetProfile) -> Iterator[Unobeyed]:
    for limit in LIMITS:
        value: Any = profile
        for part in limit.key.split("."):
            value = getattr(value, part)
        if not limit.carried(value):
            yield Unobeyed(limit.key, _text(value), limit.allowed)


def _shifted_weights(profile: TargetProfile) -> Iterator[Unobeyed]:
    """Weights are lowered with zero point 0."""
    for qtype in map(QType.parse, profile.weight.types):
        low, high = zero_points(profile.weight.zero_point, qtype)
        if qtype.signed and not low <= 0 <= high:
            yield Unobeyed("weight.zero_point", _text(profile.weight.zero_point), "zero")
            return


def _other_axes(profile: TargetProfile) -> Iterator[Unobeyed]:
    for operator, axes in CHANNEL_AXES.items():
        found = profile.weight.axis.get(operator, axes[0])
        if found not in axes:
            key = f"weight.axis.{operator}"
            yield Unobeyed(key, _text(found), " or ".join(map(_text, axes)))


def _late_biases(profile: TargetProfile) -> Iterator[Unobeyed]:
    """A bias that is added after the scale has a scale of its own, and no other bias has."""
    section, late = profile.bias, BiasOrder.AFTER_SCALE
    free = section.scale_rule is BiasScaleRule.FREE
    if free and section.order is not late:
        yield Unobeyed("bias.scale_rule", _text(section.scale_rule), f"this, with order {late}")
    if section.order is late and not (free and section.form is BiasForm.INT):
        found = f"{section.order} with form {section.form}, scale_rule {section.scale_rule}"
        yield Unobeyed("bias.order", found, "this, with form int and scale_rule free")


def _narrow_biases(profile: TargetProfile) -> Iterator[Unobeyed]:
    """A narrow bias on the plain scale would bound the weights' scales from below, unseen."""
    section = profile.bias
    plain = section.scale_rule is BiasScaleRule.ACT_TIMES_WEIGHT
    if section.form is BiasForm.INT and plain and section.bits < max(BIAS_BITS):
        shifted = f'8 or 16 with bias.scale_rule = "{BiasScaleRule.ACT_TIMES_WEIGHT_SHIFTED}"'
        allowed = f"{max(BIAS_BITS)} and more on the scale s_x s_w, {shifted}"
        yield Unobeyed("bias.bits", _text(section.bits), allowed)


def _long_biases(profile: TargetProfile) -> Iterator[Unobeyed]:
    """More bits than a file holds are written as a power of two of the plain scale."""
    section = profile.bias
    plain = section.scale_rule is BiasScaleRule.ACT_TIMES_WEIGHT
    if section.bits > max(BIAS_BITS) and not (section.form is BiasForm.INT and plain):
        allowed = f"up to {max(BIAS_BITS)}, or more of form int on the scale s_x s_w"
        yield Unobeyed("bias.bits", _text(section.bits), allowed)


def _coarse_biases(profile: TargetProfile) -> Iterator[Unobeyed]:
    """A step of whole powers of two, weights on a lattice that can follow the bias."""
    section = profile.bias
    if section.scale_rule is not BiasScaleRule.ACT_TIMES_WEIGHT_POW2:
        return
    if (section.scale_rule_exp or 0) < 0:
        yield Unobeyed("bias.scale_rule_exp", _text(section.scale_rule_exp), "0 and more")
    if section.bits + (section.scale_rule_exp or 0) > ACCUMULATOR_BITS:
        allowed = f"up to {ACCUMULATOR_BITS - section.bits} with bias.bits = {section.bits}"
        yield Unobeyed("bias.scale_rule_exp", _text(section.scale_rule_exp), allowed)
    if profile.weight.scale_form is ScaleForm.ANY:
        yield Unobeyed(
            "bias.scale_rule", _text(section.scale_rule), "this, with pow2 weight scales"
        )


def _joined_sums(profile: TargetProfile) -> Iterator[Unobeyed]:
    """A shortcut joins the sums of a layer in real arithmetic, before the one rounding."""
    if not profile.graph.joins_sums:
        return
    for operator in PRODUCTS:
        form = profile.contract().form(operator)
        if not joins(form):
            found = f"{profile.graph.residual}, requant.kind {form.kind}"
            kinds = " or ".join(JOINING_KINDS)
            allowed = f"this, with requant.kind {kinds} and the zero point behind the rounding"
            yield Unobeyed("graph.residual", found, allowed)
            return


def _products_in_reals(profile: TargetProfile) -> Iterator[Unobeyed]:
    """A product that returns reals has no multiplier, whose form scales would have to follow."""
    products = profile.graph.real_outputs
    unread = set(products) - set(MATRIX)
    if unread:
        yield Unobeyed("graph.real_outputs", _text(products), ", ".join(MATRIX))
    for operator in set(products) & set(MATRIX):
        kind, order = profile.contract().form(operator).kind, profile.bias.order
        if kind not in JOINING_KINDS or order is BiasOrder.AFTER_SCALE:
            found = f"{_text(products)}, requant.kind {kind}, bias.order {order}"
            allowed = f"this, with requant.kind {' or '.join(JOINING_KINDS)} and an early bias"
            yield Unobeyed("graph.real_outputs", found, allowed)
            return


def _clipped_codes(profile: TargetProfile) -> Iterator[Unobeyed]:
    """Codes under 8 bits are lowered in their own types, or in bytes."""
    narrow = min(*profile.activation.bits, *profile.weight.bits) < 8
    if narrow and profile.container.subbyte is Subbyte.CLIP:
        yield Unobeyed("container.subbyte", _text(profile.container.subbyte), "native or widened")


def _position_rules(profile: TargetProfile) -> Iterator[Unobeyed]:
    """Scales, and so positions, are chosen after preparation has decided what runs where."""
    for rule in profile.op:
        names = parse_inequality(rule.expr).names if rule.expr else frozenset[str]()
        if names & set(POSITION_NAMES):
            allowed = f"names of shapes: {', '.join(SHAPE_NAMES)}"
            yield Unobeyed(f"op.{rule.type}.expr", _text(rule.expr), allowed)


FINDERS: tuple[Finder, ...] = (
    _narrow_biases,  # says more of bias.bits than its limit does
    _beyond_limits,
    _shifted_weights,
    _other_axes,
    _late_biases,
    _long_biases,
    _coarse_biases,
    _joined_sums,
    _products_in_reals,
    _clipped_codes,
    _position_rules,
)
