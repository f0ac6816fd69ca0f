"""Each rule accepts one profile and refuses its neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deployq.errors import ProfileError
from deployq_targets.contradictions import RULES, find_contradictions, rule_text

if TYPE_CHECKING:  # every folder of tests has a module of this name
    from conftest import Changes, Make

SHIFT: Changes = {
    "requant.kind": "shift",
    "requant.multiplier_bits": None,
    "weight.scale_form": "pow2",
    "activation.scale_form": "pow2",
}
FLOAT: Changes = {
    "requant.kind": "float32",
    "requant.multiplier_bits": None,
    "requant.rounding": "half_even",
}
THRESHOLDS_ALONE = {"kind": "thresholds"}
THRESHOLDS: Changes = {"requant.kind": "thresholds", "requant.multiplier_bits": None}
WIDE: Changes = {
    "activation.types": ["u16", "u8"],
    "container.int_types": ["u8", "u16", "s8", "s4", "s32"],
}
OPS = [{"type": "Conv"}]
ROWS: Changes = {
    "requant.by_op.RMSNormalization": {"normalization": "integer", "rounding": "half_up"},
    "op": [{"type": "RMSNormalization"}],
}
SOFTMAX = "activation.fixed_output.Softmax"

# rule: (what it accepts, what it refuses, the key it blames)
TWINS: dict[str, tuple[Changes, Changes, str]] = {
    "types_have_a_listed_width": (
        {"weight.types": ["s8", "s4", "u8"], "weight.qmin": None},
        {"weight.types": ["s8", "s4", "s2"]},
        "weight.types",
    ),
    "widths_have_a_type": (
        {"weight.only": {"bits": [4], "types": ["s4"]}},
        {"weight.only": {"bits": [4, 8], "types": ["s4"]}},
        "weight.only.bits",
    ),
    "weight_ranges_are_full_or_narrow": (
        {"weight.qmin": {"4": -8, "8": -127}, "weight.qmax": {"4": 7}},
        {"weight.qmin": {"4": -6}},
        "weight.qmin.4",
    ),
    "tables_by_width_use_listed_widths": (
        {"weight.sum_abs_max": {"8": 1000}},
        {"weight.sum_abs_max": {"16": 1000}},
        "weight.sum_abs_max.16",
    ),
    "symmetric_weights_have_zero_point_zero": (
        {"weight.symmetry": "any", "weight.zero_point": "any"},
        {"weight.zero_point": "any"},
        "weight.zero_point",
    ),
    "symmetric_activations_fix_the_zero_point": (
        {"activation.symmetry": "symmetric", "activation.zero_point": "mid"},
        {"activation.symmetry": "symmetric", "activation.zero_point": [-1, 1]},
        "activation.zero_point",
    ),
    "asymmetric_ranges_need_a_free_zero_point": (
        {"activation.symmetry": "asymmetric"},
        {"activation.symmetry": "asymmetric", "activation.zero_point": "range_min"},
        "activation.zero_point",
    ),
    "zero_points_are_codes": (
        {"activation.zero_point": [0, 300]},
        {"activation.zero_point": [128, 255]},
        "activation.zero_point",
    ),
    "exponent_ranges_belong_to_pow2_scales": (
        {"weight.scale_form": "pow2", "weight.scale_exp_range": [-8, 0]},
        {"weight.scale_exp_range": [-8, 0]},
        "weight.scale_exp_range",
    ),
    "channel_scales_have_axes": (
        {"weight.granularity": ["tensor"], "weight.axis": None},
        {"weight.granularity": ["tensor"]},
        "weight.axis",
    ),
    "block_scales_have_sizes": (
        {"weight.granularity": ["channel", "block"], "weight.block_sizes": [32]},
        {"weight.granularity": ["channel", "block"]},
        "weight.block_sizes",
    ),
    "fixed_outputs_are_codes": (
        {f"{SOFTMAX}.u8": {"scale": 0.5, "zero_point": 255}},
        {f"{SOFTMAX}.u8": {"scale": 0.5, "zero_point": -128}},
        f"{SOFTMAX}.u8.zero_point",
    ),
    "edge_widths_are_activation_widths": (
        {"activation.io.first_bits": 8},
        {"activation.io.first_bits": 16},
        "activation.io.first_bits",
    ),
    "edge_weights_have_a_listed_width": (
        {"weight.edge_bits": 8},
        {"weight.edge_bits": 6},
        "weight.edge_bits",
    ),
    "container_holds_the_types": (
        {"container.int_types": ["u8", "s8", "s32"], "container.subbyte": "widened"},
        {"container.int_types": ["u8", "s8", "s32"]},
        "weight.types",
    ),
    "containers_are_onnx_types": (
        {"container.int_types": ["u8", "s8", "s4", "s32", "u16"]},
        {"container.int_types": ["u8", "s8", "s4", "s32", "s3"]},
        "container.int_types",
    ),
    "opsets_are_in_order": (
        {"container.opset_prefer": 26},
        {"container.opset_prefer": 27},
        "container.opset_prefer",
    ),
    "containers_exist_in_the_opset": (
        {"container.opset_max": 21},
        {"container.opset_max": 20, "container.opset_prefer": 20},
        "container.opset_max",
    ),
    "only_children_leave_out": (
        {"without": ["requant"], "extends": "int8-npu"},
        {"without": ["requant"]},
        "without",
    ),
    "op_entries_are_unique": (
        {"op": [{"type": "Conv"}, {"type": "Conv", "group": "depthwise"}]},
        {"op": [{"type": "Conv"}, {"type": "Conv", "group": "any"}]},
        "op.Conv",
    ),
    "op_widths_are_declared": (
        {"op": [{"type": "Conv", "weight_bits": [4], "act_types": ["u8"]}]},
        {"op": [{"type": "Conv", "weight_bits": [2]}]},
        "op.Conv.weight_bits",
    ),
    "factors_are_those_of_products": (
        {"op": [{"type": "MatMul", "factor_zero_point": "zero"}]},
        {"op": [{"type": "Mul", "factor_zero_point": "zero"}]},
        "op.Mul.factor_zero_point",
    ),
    "forms_belong_to_integer_ops": (
        {"requant.by_op.Conv": {"rounding": "double"}},
        {"requant.by_op.Add": {"rounding": "double"}},
        "requant.by_op.Add",
    ),
    "accumulator_holds_one_product": (
        {"accumulator.bits": 16, "bias.form": "float"},
        {"accumulator.bits": 15, "bias.form": "float"},
        "accumulator.bits",
    ),
    "bias_fits_the_accumulator": (
        {"accumulator.bits": 24, "bias.signed_bits_max": 40},
        {"accumulator.bits": 24},
        "bias.bits",
    ),
    "bias_exponent_belongs_to_its_rule": (
        {"bias.scale_rule": "act_times_weight_pow2", "bias.scale_rule_exp": 7},
        {"bias.scale_rule_exp": 7},
        "bias.scale_rule_exp",
    ),
    "bias_bound_belongs_to_a_bias": (
        {"bias.max_channels": 512},
        {"bias.max_channels": 512, "bias.form": "none"},
        "bias.max_channels",
    ),
    "wide_output_fits_the_accumulator": (
        {"activation.io.last_wide_bits": 32},
        {"activation.io.last_wide_bits": 32, "accumulator.bits": 24, "bias.bits": 24},
        "activation.io.last_wide_bits",
    ),
    "shift_kind_needs_pow2_scales": (
        SHIFT,
        {**SHIFT, "weight.scale_form": "any"},
        "requant.kind",
    ),
    "fixed_kind_states_its_multiplier": (
        {"requant.multiplier_bits": 16},
        {"requant.multiplier_bits": None},
        "requant.multiplier_bits",
    ),
    "multiplier_bits_belong_to_fixed": (
        FLOAT,
        {**FLOAT, "requant.multiplier_bits": 31},
        "requant.multiplier_bits",
    ),
    "unknown_rounding_makes_the_kind_vendor": (
        {"requant.kind": "vendor", "requant.rounding": "vendor", "requant.multiplier_bits": None},
        {"requant.rounding": "vendor"},
        "requant.rounding",
    ),
    "rounding_in_steps_needs_a_mantissa": (
        {"requant.rounding": "double"},
        {"requant.rounding": "double", "requant.multiplier_bits": 30},
        "requant.rounding",
    ),
    "float_kinds_round_half_even": (
        FLOAT,
        {**FLOAT, "requant.rounding": "half_up"},
        "requant.rounding",
    ),
    "shifts_are_in_order": (
        {"requant.shift_min": 62},
        {"requant.shift_min": 63},
        "requant.shift_min",
    ),
    "channel_weights_need_channel_requant": (
        {"requant.shift_scope": "layer"},
        {"requant.multiplier_scope": "layer"},
        "requant.multiplier_scope",
    ),
    "late_biases_stand_before_one_shift": (
        {"bias.order": "after_scale", "requant.by_op.Conv": {"rounding": "half_away"}},
        {"bias.order": "after_scale", "requant.by_op.Conv": {"rounding": "double"}},
        "bias.order",
    ),
    "split_shift_belongs_to_fixed": (
        {"requant.by_op.Conv": {"post_shift": 14, "multiplier_bits": 11}},
        {"requant.by_op.Conv": {"post_shift": 14, "rounding": "double"}},
        "requant.by_op.Conv.post_shift",
    ),
    "reduced_mantissas_are_short": (
        {"requant.mantissa": "reduced", "requant.multiplier_bits": 15},
        {"requant.mantissa": "reduced"},
        "requant.mantissa",
    ),
    "precision_belongs_to_multipliers": (
        {"requant.scale_precision": "f32_product"},
        {**SHIFT, "requant.scale_precision": "f32"},
        "requant.scale_precision",
    ),
    "place_belongs_to_zero_points": (
        {"requant.zero_point": "accumulator"},
        {"requant.zero_point": "accumulator", "activation.zero_point": "zero"},
        "requant.zero_point",
    ),
    "operator_words_stand_at_their_operator": (
        {"op": [*OPS, {"type": "Add"}], "requant.by_op.Add": {"addition": "rescaled"}},
        {"requant.by_op.Conv": {"addition": "rescaled"}},
        "requant.by_op.Conv.addition",
    ),
    "weighted_sum_gains_no_bits": (
        {"requant.addition": "weighted_sum"},
        {"requant.addition": "weighted_sum", "requant.left_shift": 20},
        "requant.addition",
    ),
    "lanes_need_a_mantissa": (
        {"requant.product": "centred", "requant.rescaling": "twice"},
        {**FLOAT, "requant.product": "centred"},
        "requant.product",
    ),
    "divided_mantissa_needs_one": (
        {"requant.averaging": "divided_mantissa"},
        {**FLOAT, "requant.averaging": "divided_mantissa"},
        "requant.averaging",
    ),
    "means_of_raw_codes_keep_the_scale": (
        {
            "op": [*OPS, {"type": "AveragePool"}],
            "requant.by_op.AveragePool": {"averaging": "raw_codes"},
            "graph.same_qparams": ["AveragePool"],
        },
        {"requant.averaging": "raw_codes", "graph.same_qparams": ["AveragePool"]},
        "requant.averaging",
    ),
    "integer_shares_have_a_multiplier": (
        {"requant.softmax": "integer"},
        {**FLOAT, "requant.softmax": "integer"},
        "requant.softmax",
    ),
    "shares_of_pairs_are_exact": (
        {
            "requant.kind": "exact",
            "requant.multiplier_bits": None,
            "requant.softmax": "pairs",
            "requant.rounding": "half_even",
        },
        {"requant.softmax": "pairs"},
        "requant.softmax",
    ),
    "integer_slopes_have_multipliers": (
        {"requant.functions": "integer"},
        {**FLOAT, "requant.functions": "integer"},
        "requant.functions",
    ),
    "integer_normalizations_round_once": (
        {"requant.normalization": "integer", "requant.rounding": "half_up"},
        {"requant.normalization": "integer", "requant.rounding": "double"},
        "requant.normalization",
    ),
    "integer_rms_needs_its_operator": (
        {**ROWS, "container.opset_max": 23},
        {**ROWS, "container.opset_max": 22},
        "container.opset_max",
    ),
    "thresholds_belong_to_layers": (
        {
            **THRESHOLDS,
            "op": [*OPS, {"type": "Add"}],
            "requant.by_op.Add": {"kind": "fixed", "multiplier_bits": 31},
        },
        {**THRESHOLDS, "op": [*OPS, {"type": "Add"}]},
        "requant.by_op.Add",
    ),
    "thresholds_are_few": (
        {**THRESHOLDS, **WIDE, "activation.bits": [16, 8]},
        {**THRESHOLDS, **WIDE, "activation.bits": [16], "activation.types": ["u16"]},
        "requant.kind",
    ),
    "every_product_has_its_figures": (
        {"align": {"products": [[32, 1], [8, 4]], "block_inputs": [32, 16]}},
        {"align": {"products": [[32, 1], [8, 4]], "block_inputs": [32]}},
        "align.block_inputs",
    ),
    "buffers_belong_to_blocks": (
        {"align": {"block": [8, 8, 8]}, "memory": {"block_buffers": {"together": 64}}},
        {"align": {"block": [8, 8, 8]}, "memory": {"block_buffers": {"together": 64, "sums": 64}}},
        "memory.block_buffers",
    ),
}


def test_every_rule_has_its_twins() -> None:
    assert list(TWINS) == [rule.__name__ for rule in RULES]


@pytest.mark.parametrize("name", TWINS)
def test_rule_accepts(parse: Make, name: str) -> None:
    accepted, _, _ = TWINS[name]
    assert parse(accepted).name == "board"


@pytest.mark.parametrize("name", TWINS)
def test_rule_refuses(parse: Make, unchecked: Make, name: str) -> None:
    _, refused, key = TWINS[name]
    first = find_contradictions(unchecked(refused))[0]
    assert (first.name, first.clash.key) == (name, key)
    with pytest.raises(ProfileError) as caught:
        parse(refused)
    assert caught.value.where == f"board.toml: {key}"
    assert caught.value.rule == first.rule
    assert caught.value.found and caught.value.allowed and caught.value.next_step


def test_factors_have_a_zero_point_that_an_activation_may_have(parse: Make) -> None:
    with pytest.raises(ProfileError) as caught:
        parse({"op": [{"type": "MatMul", "factor_zero_point": [300, 400]}]})
    assert caught.value.where == "board.toml: op.MatMul.factor_zero_point"
    assert caught.value.found == "(300, 400)"


@pytest.mark.parametrize("rule", RULES, ids=[rule.__name__ for rule in RULES])
def test_rule_is_one_line_in_the_users_words(rule: object) -> None:
    text = next(rule_text(candidate) for candidate in RULES if candidate is rule)
    assert text.endswith(".")
    assert "\n" not in text


OTHER_BRANCHES: dict[str, tuple[str, Changes, str]] = {
    "qmax": ("weight_ranges_are_full_or_narrow", {"weight.qmax": {"8": 126}}, "weight.qmax.8"),
    "narrow u8": (
        "weight_ranges_are_full_or_narrow",
        {"weight.types": ["u8", "s4"], "weight.qmin": {"8": 1}},
        "weight.qmin.8",
    ),
    "channel without axes": ("channel_scales_have_axes", {"weight.axis": None}, "weight.axis"),
    "fixed output of no type": (
        "fixed_outputs_are_codes",
        {f"{SOFTMAX}.u16": {"scale": 0.5, "zero_point": 0}},
        f"{SOFTMAX}.u16",
    ),
    "bias container": (
        "container_holds_the_types",
        {"container.int_types": ["u8", "s8", "s4"]},
        "bias.bits",
    ),
    "2 bits before 25": (
        "containers_exist_in_the_opset",
        {"container.int_types": ["u8", "s8", "s4", "s32", "s2"], "container.opset_max": 24},
        "container.opset_max",
    ),
    "opset below the lowest": (
        "opsets_are_in_order",
        {"container.opset_min": 22},
        "container.opset_prefer",
    ),
    "shift per layer": (
        "channel_weights_need_channel_requant",
        {**SHIFT, "requant.shift_scope": "layer"},
        "requant.shift_scope",
    ),
    "operator's own shift": (
        "shifts_are_in_order",
        {"requant.by_op.Conv": {"shift_min": 9, "shift_max": 8}},
        "requant.by_op.Conv.shift_min",
    ),
    "operator's own multiplier": (
        "multiplier_bits_belong_to_fixed",
        {"requant.by_op.Conv": {"kind": "exact", "rounding": "half_even", "multiplier_bits": 8}},
        "requant.by_op.Conv.multiplier_bits",
    ),
    "raised mantissa without one": (
        "rounding_in_steps_needs_a_mantissa",
        {**SHIFT, "requant.rounding": "natural_plus_one"},
        "requant.rounding",
    ),
    "exponent where the shift is free": (
        "bias_exponent_belongs_to_its_rule",
        {"bias.scale_rule": "act_times_weight_shifted", "bias.scale_rule_exp": 7},
        "bias.scale_rule_exp",
    ),
    "split shift of another kind": (
        "split_shift_belongs_to_fixed",
        {**SHIFT, "requant.post_shift": 4},
        "requant.post_shift",
    ),
    "weighted sum of another kind": (
        "weighted_sum_gains_no_bits",
        {**SHIFT, "requant.addition": "weighted_sum"},
        "requant.addition",
    ),
    "cut sum that gains bits": (
        "weighted_sum_gains_no_bits",
        {"requant.addition": "cut_sum", "requant.left_shift": 20},
        "requant.addition",
    ),
    "two roundings that round twice each": (
        "lanes_need_a_mantissa",
        {"requant.rescaling": "twice", "requant.rounding": "double"},
        "requant.rescaling",
    ),
    "averaging of no pool": (
        "operator_words_stand_at_their_operator",
        {"requant.by_op.Conv": {"averaging": "scaled_sum"}},
        "requant.by_op.Conv.averaging",
    ),
    "thresholds of a product of tensors": (
        "thresholds_belong_to_layers",
        {"op": [*OPS, {"type": "Mul"}], "requant.by_op.Mul": THRESHOLDS_ALONE},
        "requant.by_op.Mul",
    ),
    "thresholds of a Concat that rescales": (
        "thresholds_belong_to_layers",
        {**THRESHOLDS, "op": [*OPS, {"type": "Concat"}]},
        "requant.by_op.Concat",
    ),
    "thresholds that round in steps": (
        "rounding_in_steps_needs_a_mantissa",
        {**THRESHOLDS, "requant.rounding": "double"},
        "requant.rounding",
    ),
    "thresholds of a multiplier": (
        "precision_belongs_to_multipliers",
        {**THRESHOLDS, "requant.scale_precision": "f32"},
        "requant.scale_precision",
    ),
    "thresholds of the layer, weights per channel": (
        "channel_weights_need_channel_requant",
        {**THRESHOLDS, "requant.multiplier_scope": "layer"},
        "requant.multiplier_scope",
    ),
    "bias behind thresholds": (
        "late_biases_stand_before_one_shift",
        {**THRESHOLDS, "bias.order": "after_scale"},
        "bias.order",
    ),
    "exponent left out": (
        "bias_exponent_belongs_to_its_rule",
        {"bias.scale_rule": "act_times_weight_pow2"},
        "bias.scale_rule_exp",
    ),
}


@pytest.mark.parametrize("case", OTHER_BRANCHES)
def test_other_branches_of_a_rule_refuse_too(unchecked: Make, case: str) -> None:
    name, refused, key = OTHER_BRANCHES[case]
    found = find_contradictions(unchecked(refused))
    assert (name, key) in {(one.name, one.clash.key) for one in found}


def test_what_moves_needs_no_kind_beside_thresholds(parse: Make) -> None:
    moved: Changes = {"op": [*OPS, {"type": "Concat"}], "graph.same_qparams": ["Concat"]}
    assert parse({**THRESHOLDS, **moved}).requant.kind == "thresholds"
    by_op: Changes = {"requant.by_op.Conv_depthwise_by_2": THRESHOLDS_ALONE}
    assert parse(by_op).contract().form("Conv_depthwise_by_2").kind == "thresholds"


def test_widened_codes_need_no_new_opset(parse: Make) -> None:
    old = {"container.subbyte": "clip", "container.opset_max": 17, "container.opset_prefer": 17}
    assert parse(old).opset == 17


def test_bias_after_the_scale_may_be_wider(parse: Make) -> None:
    profile = parse({"accumulator.bits": 24, "bias.order": "after_scale"})
    assert profile.bias.bits == 32


def test_further_contradictions_are_counted(parse: Make) -> None:
    with pytest.raises(ProfileError, match="1 more to mend after it"):
        parse({"requant.shift_min": 63, "container.opset_prefer": 27})
