"""Rules between the accumulator, the bias and the requantization of a profile."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.requant_words import BiasOrder
from deployq.qtypes import QType
from deployq_targets.profile import TargetProfile
from deployq_targets.rules.clash import Clash
from deployq_targets.tensors import ZeroPoint, zero_points
from deployq_targets.words import BiasForm, BiasScaleRule, ScaleForm, Scope

VENDOR = "vendor"


def accumulator_holds_one_product(profile: TargetProfile) -> Iterator[Clash]:
    """The accumulator is wide enough for the largest product of one weight and one activation."""
    weight, activation = profile.weight, profile.activation
    weights = [qtype for bits in weight.bits for qtype in weight.qtypes(bits)]
    inputs = [qtype for bits in activation.bits for qtype in activation.qtypes(bits)]
    largest_weight = max((_largest(qtype, weight.zero_point) for qtype in weights), default=0)
    largest_input = max((_largest(qtype, activation.zero_point) for qtype in inputs), default=0)
    needed = (largest_weight * largest_input).bit_length() + 1  # and the sign
    if profile.accumulator.bits < needed:
        yield Clash("accumulator.bits", str(profile.accumulator.bits), f"{needed} and more")


def _largest(qtype: QType, rule: ZeroPoint) -> int:
    """The largest |code - zero point|."""
    low, high = zero_points(rule, qtype)
    return max(high - qtype.qmin, qtype.qmax - low)


def bias_fits_the_accumulator(profile: TargetProfile) -> Iterator[Clash]:
    """A bias that is added before scaling is no wider than what adds it."""
    bias = profile.bias
    adder = max(profile.accumulator.bits, bias.signed_bits_max or 0)
    if bias.form is not BiasForm.INT or bias.order is not BiasOrder.BEFORE_SCALE:
        return
    if bias.bits > adder:
        yield Clash(
            "bias.bits",
            str(bias.bits),
            f"up to {adder}",
            "a wider adder is documented in bias.signed_bits_max; 8 or 16 bits are carried with "
            'bias.scale_rule = "act_times_weight_shifted"',
        )


def bias_exponent_belongs_to_its_rule(profile: TargetProfile) -> Iterator[Clash]:
    """scale_rule act_times_weight_pow2 has a scale_rule_exp, and no other rule has."""
    bias = profile.bias
    scaled = bias.scale_rule is BiasScaleRule.ACT_TIMES_WEIGHT_POW2
    if scaled != (bias.scale_rule_exp is not None):
        found = f"{bias.scale_rule_exp} with scale_rule {bias.scale_rule}"
        yield Clash("bias.scale_rule_exp", found, "an integer with act_times_weight_pow2 only")


def wide_output_fits_the_accumulator(profile: TargetProfile) -> Iterator[Clash]:
    """An output that skips requantization is no wider than the accumulator."""
    bits, most = profile.activation.io.last_wide_bits, profile.accumulator.bits
    if bits is not None and bits > most:
        yield Clash("activation.io.last_wide_bits", str(bits), f"up to {most}")


def shift_kind_needs_pow2_scales(profile: TargetProfile) -> Iterator[Clash]:
    """A shift alone can only requantize power-of-two scales."""
    forms = {"weight": profile.weight.scale_form, "activation": profile.activation.scale_form}
    for requant_key, requant in profile.requant.each():
        for key, form in forms.items():
            if requant.kind is Kind.SHIFT and form is not ScaleForm.POW2:
                found = f"{key}.scale_form = {form}"
                yield Clash(f"{requant_key}.kind", f"shift with {found}", "pow2 scales")


def fixed_kind_states_its_multiplier(profile: TargetProfile) -> Iterator[Clash]:
    """A fixed multiplier states how many bits its mantissa has."""
    for key, requant in profile.requant.each():
        if requant.kind is Kind.FIXED and requant.multiplier_bits is None:
            yield Clash(f"{key}.multiplier_bits", "nothing", "1..32", "31 for Q31")


def multiplier_bits_belong_to_fixed(profile: TargetProfile) -> Iterator[Clash]:
    """Only a fixed multiplier has a mantissa."""
    requant = profile.requant
    stated = {"requant": (requant.kind, requant.multiplier_bits)}
    for op_type, change in requant.by_op.items():
        kind = change.kind or requant.kind
        stated[f"requant.by_op.{op_type}"] = (kind, change.multiplier_bits)
    for key, (kind, bits) in stated.items():
        if bits is not None and kind is not Kind.FIXED:
            yield Clash(f"{key}.multiplier_bits", f"{bits} with kind {kind.value}", "kind fixed")


def unknown_rounding_makes_the_kind_vendor(profile: TargetProfile) -> Iterator[Clash]:
    """Where only the vendor knows the rounding, the kind is vendor too."""
    for key, requant in profile.requant.each():
        if requant.rounding == VENDOR and requant.kind is not Kind.VENDOR:
            yield Clash(f"{key}.rounding", f"vendor with kind {requant.kind.value}", "kind vendor")


def rounding_in_steps_needs_a_mantissa(profile: TargetProfile) -> Iterator[Clash]:
    """Double rounding is the high half of a Q31 product; natural_plus_one raises a mantissa."""
    for key, requant in profile.requant.each():
        fixed = requant.kind is Kind.FIXED
        q31 = fixed and requant.multiplier_bits == 31
        double = requant.rounding in (Rounding.DOUBLE, Rounding.DOUBLE_HALF_UP)
        raised = requant.rounding is Rounding.NATURAL_PLUS_ONE
        if (double and not q31) or (raised and not fixed):
            found = f"kind {requant.kind.value}, multiplier_bits {requant.multiplier_bits}"
            allowed = "kind fixed" + (", multiplier_bits 31" if double else "")
            yield Clash(f"{key}.rounding", found, allowed, "or half_up or half_away")


def float_kinds_round_half_even(profile: TargetProfile) -> Iterator[Clash]:
    """The kinds float32 and exact round half to even."""
    for key, requant in profile.requant.each():
        floating = requant.kind in (Kind.FLOAT32, Kind.EXACT)
        if floating and requant.rounding not in (Rounding.HALF_EVEN, VENDOR):
            found = f"{Rounding(requant.rounding).value} with kind {requant.kind.value}"
            yield Clash(f"{key}.rounding", found, "half_even", "kind fixed has other roundings")


def bias_bound_belongs_to_a_bias(profile: TargetProfile) -> Iterator[Clash]:
    """A limit on biased channels belongs to a target that adds a bias."""
    bias = profile.bias
    if bias.form is BiasForm.NONE and bias.max_channels is not None:
        yield Clash("bias.max_channels", str(bias.max_channels), "absent with form none")


def shifts_are_in_order(profile: TargetProfile) -> Iterator[Clash]:
    """The least shift is not above the greatest."""
    for key, requant in profile.requant.each():
        low = Form.shift_min if requant.shift_min is None else requant.shift_min
        high = Form.shift_max if requant.shift_max is None else requant.shift_max
        if low > high:
            yield Clash(f"{key}.shift_min", str(low), f"up to shift_max = {high}")


def channel_weights_need_channel_requant(profile: TargetProfile) -> Iterator[Clash]:
    """Per-channel weights need a multiplier, or thresholds, or with kind shift a shift, each."""
    if not profile.weight_is_per_channel:
        return
    for key, requant in profile.requant.each():
        multiplied = requant.kind in (Kind.FIXED, Kind.THRESHOLDS)
        fixed = multiplied and requant.multiplier_scope is Scope.LAYER
        shift = requant.kind is Kind.SHIFT and requant.shift_scope is Scope.LAYER
        if fixed or shift:
            scope = "multiplier_scope" if fixed else "shift_scope"
            yield Clash(f"{key}.{scope}", "layer", "channel", "or make weights per tensor")


RULES = (
    accumulator_holds_one_product,
    bias_fits_the_accumulator,
    bias_exponent_belongs_to_its_rule,
    bias_bound_belongs_to_a_bias,
    wide_output_fits_the_accumulator,
    shift_kind_needs_pow2_scales,
    fixed_kind_states_its_multiplier,
    multiplier_bits_belong_to_fixed,
    unknown_rounding_makes_the_kind_vendor,
    rounding_in_steps_needs_a_mantissa,
    float_kinds_round_half_even,
    shifts_are_in_order,
    channel_weights_need_channel_requant,
)
