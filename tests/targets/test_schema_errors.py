"""What breaks the schema is refused with key, rule, found, allowed and next step."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from deployq.errors import ProfileError
from deployq_targets.words import ZeroPointWord

if TYPE_CHECKING:  # every folder of tests has a module of this name
    from conftest import Make


def refusal(parse: Make, changes: Mapping[str, object]) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        parse(changes)
    return caught.value


def test_good_profile_is_accepted(parse: Make) -> None:
    assert parse({}).name == "board"


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("requant.roundin", "half_up", "requant.rounding"),
        ("wieght", {}, "weight"),
        ("weight.only.bitz", [4], "weight.only.bits"),
        ("requant.by_op.Add.multiplierbits", 16, "requant.by_op.Add.multiplier_bits"),
        ("graph.macs_per_cycle", 4, "compute.macs_per_cycle"),
        ("activation.fixed_output.Tanh.u8.scal", 1.0, "activation.fixed_output.Tanh.u8.scale"),
        ("align.qqq", 8, "align."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unknown_key_names_the_nearest(parse: Make, key: str, value: object, meant: str) -> None:
    error = refusal(parse, {key: value})
    assert error.where == f"board.toml: {key}"
    assert error.rule == "the schema has no such key"
    assert error.next_step.startswith(f"did you mean {meant}")


def test_unknown_key_in_an_op_is_named_by_the_operator(parse: Make) -> None:
    error = refusal(parse, {"op": [{"type": "Gemm"}, {"type": "Conv", "strid": [1, 2]}]})
    assert error.where == "board.toml: op.Conv.strid"
    assert "op.Conv.stride" in error.next_step


def test_unknown_key_comes_before_the_key_it_hides(parse: Make) -> None:
    error = refusal(parse, {"requant.kind": None, "requant.knd": "fixed"})
    assert error.where == "board.toml: requant.knd"
    assert "did you mean requant.kind?; 1 more" in error.next_step


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("requant.rounding", "half-up", "half_even, half_up"),
        ("requant.multiplier_bits", 33, "an integer >= 1, <= 32"),
        ("requant.multiplier_bits", True, "an integer"),
        ("requant.multiplier_bits", "31", "an integer"),
        ("weight.bits", [], "a list of: an integer"),
        ("weight.bits", 8, "a list of: an integer"),
        ("weight.types", ["i8"], "text of the form of u8, s4"),
        ("weight.axis.Conv", "k", "an integer, or n"),
        ("activation.zero_point", "middle", "zero, mid, range_min, any, or [an integer"),
        ("activation.zero_point", [0, "x"], "an integer"),
        ("activation.narrow_range", 1, "true, false"),
        ("bias.scale_rtol", float("inf"), "a number >= 0"),
        ("container", 3, "a table with format"),
        ("compute.macs_per_cycle", 3, "a table with free keys"),
        ("evidence", {"requant": {"rounding": "S"}}, "E, S, D, X, U"),
        ("memory.onchip_bw", datetime.date(2000, 1, 1), "a number > 0"),
        ("extends", 3, "text"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_wrong_value_names_key_and_allowed(
    parse: Make, key: str, value: object, allowed: str
) -> None:
    error = refusal(parse, {key: value})
    assert error.where.startswith(f"board.toml: {key}")
    assert error.found and error.rule
    assert error.allowed.startswith(allowed)
    assert error.next_step.startswith("change ")


def test_wrong_item_names_its_place(parse: Make) -> None:
    assert refusal(parse, {"weight.bits": [8, "4"]}).where == "board.toml: weight.bits[1]"


@pytest.mark.parametrize("key", ["op", "activation.zero_point", "activation.scale_exp_range"])
def test_span_upside_down_is_refused(parse: Make, key: str) -> None:
    value = [{"type": "Conv", "stride": [3, 1]}] if key == "op" else [3, 1]
    error = refusal(parse, {key: value})
    assert error.rule == "the low end 3 is above the high end 1"
    assert error.found == "[3, 1]"


@pytest.mark.parametrize(
    ("key", "value"),
    [("compute.macs_per_cycle.w8", 4.0), ("weight.qmin.eight", -127), ("weight.axis.conv", 0)],
    ids=["width pair", "width", "operator"],
)
def test_wrong_free_key_is_refused(parse: Make, key: str, value: object) -> None:
    error = refusal(parse, {key: value})
    assert error.where == f"board.toml: {key}"
    assert error.next_step == f"rename {key}"


@pytest.mark.parametrize("key", ["kind", "requant", "requant.kind", "weight.granularity", "name"])
def test_missing_key_is_named(parse: Make, key: str) -> None:
    error = refusal(parse, {key: None})
    assert error.where == f"board.toml: {key}"
    assert error.rule.startswith("a required key is missing: ")
    assert error.next_step == f"state {key}"


@pytest.mark.parametrize(
    ("version", "found"), [(2, "2"), ("1", '"1"'), (True, "true"), (None, "nothing")]
)
def test_other_schema_version_is_refused(parse: Make, version: object, found: str) -> None:
    error = refusal(parse, {"schema": version})
    assert (error.where, error.allowed) == ("board.toml: schema", "1")
    assert error.found == found


def test_profile_is_frozen(parse: Make) -> None:
    profile = parse({})
    assert profile.activation.zero_point is ZeroPointWord.ANY
    with pytest.raises(ValidationError, match="frozen"):
        profile.requant.shift_min = 3
