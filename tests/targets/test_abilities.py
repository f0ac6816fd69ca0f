"""What code asks of a profile (law 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deployq.arithmetic.contract import Accumulator, Form, Kind, Overflow, Rounding
from deployq.errors import ProfileError
from deployq.qtypes import QType
from deployq_targets.words import Group, OpStatus

if TYPE_CHECKING:  # every folder of tests has a module of this name
    from conftest import Changes, Make


@pytest.mark.parametrize(
    ("qmin", "bits", "expected"),
    [(-7, 4, "s4[-7,7]"), (-8, 4, "s4[-8,7]"), (None, 8, "s8[-128,127]")],
)
def test_weight_qtype_follows_qmin(parse: Make, qmin: int | None, bits: int, expected: str) -> None:
    profile = parse({"weight.qmin": {} if qmin is None else {str(bits): qmin}})
    assert str(profile.weight_qtype(bits)) == expected


def test_one_bit_and_unsigned_weights_are_never_narrow(parse: Make) -> None:
    one_bit = {"weight.bits": [1, 8], "weight.types": ["s1", "u8"], "weight.qmin": {"1": -1}}
    profile = parse({**one_bit, "container.int_types": ["u8", "s8", "s2", "s32"]})
    assert profile.weight_qtype(1) == QType(1, signed=True)
    assert profile.weight_qtype(8) == QType(8, signed=False)


def test_other_width_names_the_allowed(parse: Make) -> None:
    with pytest.raises(ProfileError) as caught:
        parse({}).weight_qtype(2)
    assert caught.value.where == "board: weight.bits"
    assert (caught.value.found, caught.value.allowed) == ("2", "8, 4")
    with pytest.raises(ProfileError, match=r"activation\.bits"):
        parse({}).activation_qtypes(4)


def test_default_widths_are_the_first(parse: Make) -> None:
    profile = parse({"weight.bits": [4, 8]})
    assert (profile.default_weight_bits, profile.default_activation_bits) == (4, 8)


@pytest.mark.parametrize("narrow", [False, True])
def test_activation_qtypes_keep_their_order(parse: Make, narrow: bool) -> None:
    profile = parse({"activation.narrow_range": narrow})
    assert profile.activation_qtypes(8) == (QType(8, False), QType(8, True, narrow))


@pytest.mark.parametrize(
    ("rule", "u8", "s8"),
    [
        ("zero", (0, 0), (0, 0)),
        ("mid", (128, 128), (0, 0)),
        ("range_min", (0, 0), (-128, -128)),
        ("any", (0, 255), (-128, 127)),
        ([-4, 200], (0, 200), (-4, 127)),
    ],
    ids=str,
)
def test_zero_points(parse: Make, rule: object, u8: tuple[int, int], s8: tuple[int, int]) -> None:
    profile = parse({"activation.zero_point": rule})
    for qtype, expected in zip(profile.activation_qtypes(8), (u8, s8), strict=True):
        assert profile.activation_zero_points(qtype) == expected
        free = expected[0] < expected[1]
        assert profile.activation_zero_point_is_free(qtype) is free


PER_TENSOR: Changes = {"weight.granularity": ["tensor"], "weight.axis": None}


@pytest.mark.parametrize("changes", [{}, PER_TENSOR], ids=["channel", "tensor"])
def test_weight_is_per_channel(parse: Make, changes: Changes) -> None:
    assert parse(changes).weight_is_per_channel is (changes == {})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"requant.multiplier_bits": 24}, True),
        ({"requant.multiplier_bits": 23}, False),
        ({"requant.shift_scope": "layer"}, False),
        ({"weight.scale_form": "pow2"}, False),
        (PER_TENSOR, False),
        ({"requant": {"kind": "float32", "rounding": "half_even"}}, True),
        ({"requant": {"kind": "exact", "rounding": "half_even"}}, True),
        ({"requant": {"kind": "vendor", "rounding": "vendor"}}, False),
    ],
    ids=str,
)
def test_any_channel_scale(parse: Make, changes: Changes, expected: bool) -> None:
    assert parse(changes).any_channel_scale is expected


@pytest.mark.parametrize(
    ("unlisted", "status"),
    [("integer", "integer"), ("float", "float"), ("refuse", "unsupported")],
)
def test_unlisted_op_goes_by_the_graphs_rule(parse: Make, unlisted: str, status: str) -> None:
    profile = parse({"graph.unlisted_ops": unlisted})
    assert profile.op_status("Tanh") == status
    assert profile.op_status("Conv") is OpStatus.INTEGER


def test_op_of_a_group_comes_before_any_group(parse: Make) -> None:
    depthwise = {"type": "Conv", "group": "depthwise", "status": "cpu"}
    profile = parse({"op": [depthwise, {"type": "Conv"}]})
    assert profile.op_status("Conv", Group.DEPTHWISE) is OpStatus.CPU
    assert profile.op_status("Conv", Group.DENSE) is OpStatus.INTEGER
    assert profile.op_status("Conv") is OpStatus.INTEGER


def test_op_of_one_group_only(parse: Make) -> None:
    profile = parse({"op": [{"type": "Conv", "group": "dense"}]})
    assert profile.op_status("Conv") is OpStatus.INTEGER
    assert profile.op_rule("Conv", Group.GROUPED) is None
    assert profile.op_status("Conv", Group.GROUPED) is OpStatus.FLOAT


@pytest.mark.parametrize(
    ("op_type", "trans_b", "axis"),
    [("Conv", False, 0), ("MatMul", False, -1), ("Gemm", False, 1), ("Gemm", True, 0)],
)
def test_weight_axis(parse: Make, op_type: str, trans_b: bool, axis: int) -> None:
    assert parse({}).weight_axis(op_type, trans_b=trans_b) == axis


def test_operator_without_axis_is_refused(parse: Make) -> None:
    with pytest.raises(ProfileError) as caught:
        parse({}).weight_axis("ConvTranspose")
    assert caught.value.where == "board: weight.axis.ConvTranspose"
    assert caught.value.allowed == "Conv, MatMul, Gemm"


def test_fixed_output_is_found_by_operator_and_type(parse: Make) -> None:
    sigmoid = {"u8": {"scale": 0.00390625, "zero_point": 0}}
    profile = parse({"activation.fixed_output.Sigmoid": sigmoid})
    u8, s8 = profile.activation_qtypes(8)
    found = profile.fixed_output("Sigmoid", u8)
    assert found is not None and (found.scale, found.zero_point) == (2.0**-8, 0)
    assert profile.fixed_output("Sigmoid", s8) is None
    assert profile.fixed_output("Tanh", u8) is None


def test_contract_carries_every_word(parse: Make) -> None:
    changes = {
        "requant.shift_min": 2,
        "requant.shift_scope": "layer",
        "requant.left_shift": 18,
        "accumulator.bits": 40,
        "accumulator.overflow": "saturate",
    }
    contract = parse(changes).contract()
    expected = Form(Kind.FIXED, Rounding.HALF_UP, 31, shift_min=2, shared_shift=True, left_shift=18)
    assert (contract.name, contract.default) == ("board", expected)
    assert contract.accumulator == Accumulator(40, Overflow.SATURATE)


def test_contract_of_one_operator_changes_only_what_it_states(parse: Make) -> None:
    change = {"rounding": "half_away", "shift_max": 40}
    contract = parse({"requant.by_op.Conv": change, "requant.shift_min": 0}).contract()
    assert contract.form("Conv") == Form(Kind.FIXED, Rounding.HALF_AWAY, 31, 0, 40)
    assert contract.form("Gemm") == Form(Kind.FIXED, Rounding.HALF_UP, 31, 0)


def test_contract_of_a_vendor(parse: Make) -> None:
    contract = parse({"requant": {"kind": "vendor", "rounding": "vendor"}}).contract()
    assert contract.default.kind is Kind.VENDOR


@pytest.mark.parametrize(
    ("types", "opset"),
    [(["s8"], 13), (["s3", "s8"], 21), (["s4"], 21), (["s1"], 25), ([], 13)],
    ids=str,
)
def test_opset_for_types(parse: Make, types: list[str], opset: int) -> None:
    profile = parse({"container.opset_prefer": 13})
    assert profile.opset == 13
    assert profile.opset_for(map(QType.parse, types)) == opset
