"""Words of a profile that nothing obeys are refused, never ignored (laws 4 and 6)."""

from __future__ import annotations

from typing import Any

import pytest

from deployq.errors import ProfileError
from deployq.graph.obeyed import LIMITS, refuse_unobeyed
from deployq_targets import load_profile
from deployq_targets.loader import parse_profile
from tests.graph.networks import TARGETS, prepared_for, profile_with, residual_graph


@pytest.mark.parametrize("target", [*TARGETS, "int2-vlsi"])
def test_built_in_profiles_are_obeyed(target: str) -> None:
    refuse_unobeyed(load_profile(target))


@pytest.mark.parametrize(
    "changes",
    [
        {"activation__granularity": ["channel"]},
        {"activation__io": {"float_edges": False}},
        {"weight__symmetry": "asymmetric", "weight__zero_point": "any"},
        {"weight__zero_point": [1, 9], "weight__symmetry": "any"},
        {"weight__granularity": ["block"], "weight__block_sizes": [32], "weight__axis": {}},
        {"weight__axis": {"Conv": 1, "Gemm": "n"}},
        {"weight__axis": {"Conv": 0, "Gemm": 1}},
        {"bias__form": "none"},
        {"bias__form": "folded"},
        {"bias__bits": 16, "container__int_types": ["s8", "s16"]},
        {"bias__scale_rule": "free"},
        {"bias__scale_rule": "act_times_weight_pow2", "bias__scale_rule_exp": 3},
        {"bias__scale_rule_exp": 1, "bias__scale_rule": "act_times_weight_pow2"},
        {"bias__scale_rule_exp": -1, "bias__scale_rule": "act_times_weight_pow2"},
        {"bias__order": "after_scale"},
        {"accumulator__bound": "datatype"},
        {"container__format": "tflite"},
        {"container__opset_max": 17, "container__opset_prefer": 13},
        {"container__ir_max": 9},
        {"container__scalar_rank": 1},
        {"container__zero_point_input": "omit"},
        {"container__layout": "nhwc"},
    ],
    ids=str,
)
def test_words_that_nothing_obeys_are_refused_by_their_key(changes: dict[str, Any]) -> None:
    profile = profile_with("int8-npu", **changes)
    key = next(iter(changes)).replace("__", ".")
    with pytest.raises(ProfileError, match=rf"{key}.*: deployq does not carry this yet") as caught:
        prepared_for(residual_graph(), profile)
    assert caught.value.found and caught.value.allowed and key in caught.value.next_step


@pytest.mark.parametrize(
    "changes",
    [
        {"activation__scale_form": "pow2"},
        {"activation__scale_form": "pow2", "activation__scale_exp_range": [-8, 0]},
        {"weight__scale_form": "pow2"},
        {"weight__scale_form": "pow2", "weight__scale_exp_range": [-8, 0]},
    ],
    ids=str,
)
def test_forms_of_scales_are_obeyed(changes: dict[str, Any]) -> None:
    refuse_unobeyed(profile_with("int8-npu", **changes))


def test_codes_under_eight_bits_travel_in_their_own_types_or_in_bytes() -> None:
    types = ["s8", "u8", "s32"]
    refuse_unobeyed(
        profile_with("lowbit-vlsi", container__subbyte="widened", container__int_types=types)
    )
    profile = profile_with("lowbit-vlsi", container__subbyte="clip", container__int_types=types)
    with pytest.raises(ProfileError, match=r"(?s)container\.subbyte.*found: clip"):
        refuse_unobeyed(profile)
    refuse_unobeyed(profile_with("int8-npu", container__subbyte="clip"))


def test_inequalities_over_positions_are_refused_and_over_shapes_obeyed() -> None:
    table = load_profile("int8-npu").model_dump(mode="json")
    entry = next(rule for rule in table["op"] if rule["type"] == "Conv")
    entry["expr"] = "kh == kw"
    refuse_unobeyed(parse_profile(table, "test"))
    entry["expr"] = "opos >= 7 and kh == kw"
    with pytest.raises(ProfileError, match=r"(?s)op\.Conv\.expr.*found: opos >= 7.*allowed: names"):
        refuse_unobeyed(parse_profile(table, "test"))


def test_further_words_are_counted() -> None:
    profile = profile_with("int8-npu", bias__form="none", bias__order="after_scale")
    with pytest.raises(ProfileError, match=r"(?s)bias\.form.*next: .*1 more to mend after it"):
        refuse_unobeyed(profile)


@pytest.mark.parametrize("bits", [16, 20, 24])
def test_a_narrow_bias_is_told_at_once_where_it_is_carried(bits: int) -> None:
    types = ["s8", "s16", "s32"]
    profile = profile_with("int8-npu", bias__bits=bits, container__int_types=types)
    with pytest.raises(ProfileError, match=r"(?s)allowed: 32 and more.*8 or 16 with.*_shifted"):
        refuse_unobeyed(profile)


def test_no_key_stands_twice() -> None:
    keys = [limit.key for limit in LIMITS]
    assert len(keys) == len(set(keys))
