"""Rules on the words of a requantization that only some kinds, operators and types have."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.arithmetic.contract import Kind, Rounding
from deployq.arithmetic.form_names import KIND
from deployq.arithmetic.multiplier import Q31
from deployq.arithmetic.requant_words import (
    Addition,
    Averaging,
    BiasOrder,
    Functions,
    Mantissa,
    Normalization,
    Product,
    Rescaling,
    Softmax,
    ZeroPointPlace,
)
from deployq.arithmetic.row_operators import NORMALIZATIONS
from deployq_targets.arithmetic import Requant, RequantChange
from deployq_targets.profile import TargetProfile
from deployq_targets.rules.clash import Clash
from deployq_targets.words import OpStatus, ZeroPointWord

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
POOLS = ("AveragePool", "GlobalAveragePool")
STEPS = (Rounding.DOUBLE, Rounding.DOUBLE_HALF_UP, Rounding.NATURAL_PLUS_ONE)
RMS, RMS_OPSET = "RMSNormalization", 23
OWNERS = {
    "addition": ("Add",),
    "product": ("Mul",),
    "gating": ("Mul",),
    "rescaling": ("Concat",),
    "averaging": POOLS,
    "functions": ("Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "HardSigmoid", "Elu", "Gelu"),
    "softmax": ("Softmax",),
    "normalization": NORMALIZATIONS,
}
"""Words that speak of single operators."""
LANES = (
    ("product", Product.CENTRED), ("rescaling", Rescaling.TWICE),
    ("rescaling", Rescaling.BY_MAKERS),
)  # fmt: skip


def _stated(profile: TargetProfile) -> Iterator[tuple[str, str, RequantChange, Requant]]:
    """Dotted key, operator ("" for the default), own words and whole form of each form."""
    requant = profile.requant
    yield "requant", "", requant, requant
    for op_type, change in requant.by_op.items():
        yield f"requant.by_op.{op_type}", op_type, change, requant.for_op(op_type)


def split_shift_belongs_to_fixed(profile: TargetProfile) -> Iterator[Clash]:
    """A shift before the multiplication belongs to a fixed multiplier that rounds once."""
    for key, _, own, form in _stated(profile):
        once = form.kind is Kind.FIXED and form.rounding not in STEPS
        if own.post_shift is not None and not once:
            found = f"{own.post_shift} with kind {form.kind}, rounding {form.rounding}"
            yield Clash(f"{key}.post_shift", found, "kind fixed and a rounding of one step")


def precision_belongs_to_multipliers(profile: TargetProfile) -> Iterator[Clash]:
    """Only fixed and float32 multipliers are computed in a precision of their own."""
    for key, _, own, form in _stated(profile):
        if own.scale_precision is not None and form.kind not in (Kind.FIXED, Kind.FLOAT32):
            found = f"{own.scale_precision} with kind {form.kind}"
            yield Clash(f"{key}.scale_precision", found, "kind fixed, kind float32")


def reduced_mantissas_are_short(profile: TargetProfile) -> Iterator[Clash]:
    """A reduced mantissa is of kind fixed, shorter than 31 bits and has a shift of its own."""
    for key, _, own, form in _stated(profile):
        if own.mantissa is not Mantissa.REDUCED:
            continue
        stated = form.form()
        one_shift = stated.shared_shift or stated.shift_min == stated.shift_max
        if form.kind is not Kind.FIXED or (form.multiplier_bits or Q31) >= Q31 or one_shift:
            found = f"reduced with kind {form.kind}, multiplier_bits {form.multiplier_bits}, "
            found += f"shift_scope {form.shift_scope}"
            allowed = "kind fixed, multiplier_bits below 31, a shift for each channel"
            yield Clash(f"{key}.mantissa", found, allowed)


def place_belongs_to_zero_points(profile: TargetProfile) -> Iterator[Clash]:
    """Where zero points are added matters to a target that has some."""
    always_zero = profile.activation.zero_point in (ZeroPointWord.ZERO, (0, 0))
    for key, _, own, _ in _stated(profile):
        if own.zero_point not in (None, ZeroPointPlace.AFTER_ROUNDING) and always_zero:
            yield Clash(f"{key}.zero_point", str(own.zero_point), "absent: zero points are 0")


def operator_words_stand_at_their_operator(profile: TargetProfile) -> Iterator[Clash]:
    """A word about one operator, such as addition or averaging, stands at that operator."""
    for key, op_type, own, _ in _stated(profile):
        for word, owners in OWNERS.items():
            operator = op_type.partition(KIND)[0]
            if op_type and operator not in owners and getattr(own, word) is not None:
                yield Clash(f"{key}.{word}", op_type, ", ".join(owners))


def weighted_sum_gains_no_bits(profile: TargetProfile) -> Iterator[Clash]:
    """A weighted or cut sum is of kind fixed, without left_shift: its mantissas share a shift."""
    for key, _, own, form in _stated(profile):
        if own.addition not in (Addition.WEIGHTED_SUM, Addition.CUT_SUM):
            continue
        if form.kind is not Kind.FIXED or own.left_shift is not None:
            found = f"{own.addition} with kind {form.kind}, left_shift {own.left_shift}"
            yield Clash(f"{key}.addition", found, "kind fixed without left_shift")


def lanes_need_a_mantissa(profile: TargetProfile) -> Iterator[Clash]:
    """A centred product and a second rounding belong to a fixed multiplier that rounds once."""
    for key, _, own, form in _stated(profile):
        if form.kind is Kind.FIXED and form.rounding not in STEPS:
            continue
        for word, value in LANES:
            if getattr(own, word) is value:
                found = f"{value} with kind {form.kind}, rounding {form.rounding}"
                yield Clash(f"{key}.{word}", found, "kind fixed and a rounding of one step")


def divided_mantissa_needs_one(profile: TargetProfile) -> Iterator[Clash]:
    """A mantissa that is divided by the count belongs to a fixed multiplier."""
    for key, _, own, form in _stated(profile):
        if own.averaging is Averaging.DIVIDED_MANTISSA and form.kind is not Kind.FIXED:
            found = f"divided_mantissa with kind {form.kind}"
            yield Clash(f"{key}.averaging", found, "kind fixed")


def means_of_raw_codes_keep_the_scale(profile: TargetProfile) -> Iterator[Clash]:
    """A mean of raw codes, or one that is known so, has the scale and zero point of its input."""
    for key, op_type, own, _ in _stated(profile):
        if own.averaging not in (Averaging.RAW_CODES, Averaging.KEPT_SUM):
            continue
        operator = op_type.partition(KIND)[0]
        for pool in (operator,) if operator in POOLS else POOLS:
            if pool not in profile.graph.same_qparams:
                step = f"add {pool} to graph.same_qparams"
                found = f"{own.averaging}, {pool} rescales"
                yield Clash(f"{key}.averaging", found, "scaled_sum", step)


def late_biases_stand_before_one_shift(profile: TargetProfile) -> Iterator[Clash]:
    """A bias after the scale is added to a fixed product, before the one step that rounds it."""
    if profile.bias.order is not BiasOrder.AFTER_SCALE:
        return
    for key, op_type, _, form in _stated(profile):
        late = form.post_shift is not None or form.form().folds_zero
        room = form.kind in (Kind.FIXED, Kind.SHIFT) and form.rounding not in STEPS and not late
        if op_type not in ("", *PRODUCTS) or room or form.kind is Kind.VENDOR:
            continue
        allowed = "before_scale; or kind fixed or shift, a rounding of one step, all of the shift "
        yield Clash("bias.order", f"after_scale with {key}", f"{allowed}behind the product")


def integer_shares_have_a_multiplier(profile: TargetProfile) -> Iterator[Clash]:
    """A Softmax in integers ends in a fixed multiplier or a shift."""
    for key, _, own, form in _stated(profile):
        if own.softmax is Softmax.INTEGER and form.kind not in (Kind.FIXED, Kind.SHIFT):
            found = f"integer with kind {form.kind}"
            yield Clash(f"{key}.softmax", found, "kind fixed, kind shift")


def shares_of_pairs_are_exact(profile: TargetProfile) -> Iterator[Clash]:
    """A Softmax of pairs is a function of its own, of kind exact."""
    for key, _, own, form in _stated(profile):
        if own.softmax is Softmax.PAIRS and form.kind is not Kind.EXACT:
            yield Clash(f"{key}.softmax", f"pairs with kind {form.kind}", "kind exact")


def integer_slopes_have_multipliers(profile: TargetProfile) -> Iterator[Clash]:
    """A LeakyRelu in integers has a fixed multiplier for each side of zero."""
    for key, op_type, own, form in _stated(profile):
        speaks = op_type in ("", "LeakyRelu") and own.functions is Functions.INTEGER
        if speaks and form.kind is not Kind.FIXED:
            yield Clash(f"{key}.functions", f"integer with kind {form.kind}", "kind fixed")


def integer_normalizations_round_once(profile: TargetProfile) -> Iterator[Clash]:
    """A normalization in integers ends in a fixed multiplier, its bias before the one shift."""
    for key, _, own, form in _stated(profile):
        once = form.kind is Kind.FIXED and form.rounding not in STEPS and form.post_shift is None
        if own.normalization is Normalization.INTEGER and not once:
            found = f"integer with kind {form.kind}, rounding {form.rounding}, "
            found += f"post_shift {form.post_shift}"
            allowed = "kind fixed, a rounding of one step, all of the shift behind the product"
            yield Clash(f"{key}.normalization", found, allowed)


def integer_rms_needs_its_operator(profile: TargetProfile) -> Iterator[Clash]:
    """RMSNormalization in integers is read from its operator, which ONNX has from opset 23 on."""
    integer = profile.requant.for_op(RMS).normalization is Normalization.INTEGER
    highest = profile.container.opset_max
    runs = profile.op_status(RMS) is OpStatus.INTEGER
    if integer and runs and highest is not None and highest < RMS_OPSET:
        yield Clash("container.opset_max", f"{highest}, {RMS} in integers", f"{RMS_OPSET} or more")


RULES = (
    late_biases_stand_before_one_shift,
    split_shift_belongs_to_fixed,
    reduced_mantissas_are_short,
    precision_belongs_to_multipliers,
    place_belongs_to_zero_points,
    operator_words_stand_at_their_operator,
    weighted_sum_gains_no_bits,
    lanes_need_a_mantissa,
    divided_mantissa_needs_one,
    means_of_raw_codes_keep_the_scale,
    integer_shares_have_a_multiplier,
    shares_of_pairs_are_exact,
    integer_slopes_have_multipliers,
    integer_normalizations_round_once,
    integer_rms_needs_its_operator,
)
