"""Words that only some operators obey: accepted in a profile, refused where nothing obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.form_names import DEPTHWISE_BY_2, KINDS, MEAN_BY_2
from deployq.arithmetic.form_words import unobeyed
from deployq.arithmetic.requant_words import BiasOrder
from deployq.errors import ProfileError, UnsupportedError
from deployq_targets.words import OpStatus

if TYPE_CHECKING:  # every folder of tests has a module of this name
    from conftest import Changes, Make

FLOAT: Changes = {
    "requant.kind": "float32",
    "requant.multiplier_bits": None,
    "requant.rounding": "half_even",
}
ALL = ("Conv", "Gemm", "MatMul", "Add", "Mul", "AveragePool", "GlobalAveragePool")
LAYERS = ("Conv", *(kind for kind in KINDS if kind.startswith("Conv")), "Gemm")
POOLED: Changes = {"graph.same_qparams": ["AveragePool", "GlobalAveragePool"]}


@pytest.mark.parametrize(
    ("changes", "operator", "word"),
    [
        ({"requant.post_shift": 14}, "Add", "post_shift = 14"),
        (
            {"requant.scale_precision": "f32_product"},
            "AveragePool",
            "scale_precision = f32_product",
        ),
        ({"requant.scale_precision": "f32_inverse"}, "Conv", "scale_precision = f32_inverse"),
        ({**FLOAT, "requant.scale_precision": "f64"}, "Add", "scale_precision = f64"),
        ({"requant.zero_point": "before_rounding"}, "Conv", "zero_point = before_rounding"),
        ({"requant.zero_point": "accumulator"}, "Mul", "zero_point = accumulator"),
        ({"requant.zero_point": "apart"}, "Gemm", "zero_point = apart"),
        ({**FLOAT, "requant.zero_point": "after_rounding"}, "Add", "zero_point = after_rounding"),
    ],
    ids=str,
)
def test_word_that_an_operator_would_ignore_is_named_at_use(
    parse: Make, changes: Changes, operator: str, word: str
) -> None:
    form = parse(changes).contract().default
    assert unobeyed(operator, form) == (word,)
    with pytest.raises(UnsupportedError, match="does not carry yet") as caught:
        pick(operator, {form.kind: np.add}, form)
    assert (caught.value.where, caught.value.found) == (operator, word)


@pytest.mark.parametrize(
    ("changes", "operators"),
    [
        ({"requant.scale_precision": "f64", "requant.zero_point": "after_rounding"}, ALL),
        ({"requant.addition": "rescaled", "requant.averaging": "scaled_sum"}, ALL),
        ({**FLOAT, "requant.scale_precision": "f32"}, ALL),
        ({"requant.post_shift": 14, "requant.zero_point": "accumulator"}, LAYERS),
        ({"requant.scale_precision": "f32_product"}, ("Conv", "Gemm", "Mul")),
        ({"requant.addition": "weighted_sum"}, ("Add",)),
        ({"requant.addition": "cut_sum", "requant.scale_precision": "f32_reciprocal"}, ("Add",)),
        ({"requant.product": "centred", "requant.scale_precision": "f32_quotient"}, ("Mul",)),
        ({"requant.rescaling": "twice", "requant.scale_precision": "f32"}, ("Concat",)),
        ({"requant.averaging": "divided_mantissa"}, ("GlobalAveragePool",)),
        ({"requant.rescaling": "by_makers", "requant.scale_precision": "f32"}, ("Concat",)),
        ({**POOLED, "requant.averaging": "raw_codes"}, ("AveragePool",)),
        ({**POOLED, "requant.averaging": "kept_sum"}, ("AveragePool", MEAN_BY_2)),
        ({"requant.zero_point": "apart"}, ("GlobalAveragePool", "AveragePool")),
        ({"requant.scale_precision": "f32"}, ("GlobalAveragePool", "Mul", "Conv")),
        (
            {**FLOAT, "requant.scale_precision": "f32_inverse", "requant.zero_point": "apart"},
            ("GlobalAveragePool",),
        ),
        ({**FLOAT, "requant.zero_point": "before_rounding"}, ("GlobalAveragePool", "Mul", "Add")),
    ],
    ids=str,
)
def test_words_that_operators_obey(
    parse: Make, changes: Changes, operators: tuple[str, ...]
) -> None:
    form = parse(changes).contract().default
    for operator in operators:
        assert unobeyed(operator, form) == ()
        assert pick(operator, {form.kind: np.add}, form) is np.add


def test_kinds_of_an_operator_have_forms_of_their_own(parse: Make) -> None:
    words = {"Conv": {"post_shift": 14}, DEPTHWISE_BY_2: {"post_shift": 9}}
    contract = parse({f"requant.by_op.{name}": change for name, change in words.items()}).contract()
    found = [contract.form(name).post_shift for name in LAYERS]
    assert found == [14, 9, 14, 14, None]
    with pytest.raises(ProfileError, match=r"requant\.by_op\.Conv_sideways"):
        parse({"requant.by_op.Conv_sideways": {"post_shift": 9}})


def test_word_of_one_operator_leaves_the_others_alone(parse: Make) -> None:
    contract = parse({"requant.by_op.Conv": {"post_shift": 14}}).contract()
    assert contract.form("Conv").post_shift == 14
    assert contract.form("Gemm") == Form(Kind.FIXED, contract.default.rounding)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("requant.post_shift", 0, "an integer >= 1, <= 62"),
        ("requant.scale_precision", "f16", "f64, f32, f32_product"),
        (
            "requant.zero_point",
            "before",
            "after_rounding, before_rounding, accumulator, accumulator_apart, apart",
        ),
        ("requant.addition", "sum", "rescaled, rescaled_once, weighted_sum, cut_sum"),
        ("requant.product", "half", "whole, centred"),
        ("requant.gating", "fused", "apart, joined"),
        ("requant.functions", "float16", "exact, rational, integer, reciprocal"),
        ("requant.rescaling", "thrice", "once, twice, by_makers"),
        ("requant.averaging", "mean", "scaled_sum, divided_mantissa, kept_sum, raw_codes"),
        (
            "requant.softmax",
            "polynomial",
            "real, scaled_table, integer, pairs, float_table, gemmlowp",
        ),
        ("requant.normalization", "float", "real, integer"),
        ("bias.max_channels", 0, "an integer >= 1"),
        ("bias.scale_rule", "shifted", "act_times_weight, act_times_weight_pow2, act_times"),
        ("graph.unlisted_ops", "host", "integer, float, cpu, refuse"),
        ("without", "requant", "a list of: text"),
    ],
)
def test_other_values_are_refused(parse: Make, key: str, value: object, allowed: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse({key: value})
    assert caught.value.where == f"board.toml: {key}"
    assert caught.value.allowed.startswith(allowed)


@pytest.mark.parametrize(
    ("operator", "word", "value"),
    [("Conv", "functions", "rational"), ("Conv", "softmax", "real"),
     ("Conv", "normalization", "integer"), ("Conv", "averaging", "scaled_sum"),
     ("Conv", "addition", "rescaled"), ("Conv", "gating", "joined")],
)  # fmt: skip
def test_word_at_an_operator_that_it_says_nothing_to_is_refused(
    parse: Make, operator: str, word: str, value: str
) -> None:
    with pytest.raises(ProfileError, match=rf"requant\.by_op\.{operator}\.{word}"):
        parse({f"requant.by_op.{operator}": {word: value}})


LATE = {"bias.order": "after_scale", "bias.scale_rule": "free"}


def test_bias_after_the_scale_is_a_word_of_the_contract(parse: Make) -> None:
    assert parse(LATE).contract().bias_order is BiasOrder.AFTER_SCALE


@pytest.mark.parametrize(
    "changes",
    [
        FLOAT,
        {"requant.rounding": "double"},
        {"requant.rounding": "half_up", "requant.post_shift": 14},
        {"requant.by_op.Conv": {"post_shift": 14, "rounding": "half_up"}},
        {"requant.zero_point": "accumulator"},
        {"requant.kind": "thresholds", "requant.multiplier_bits": None},
    ],
    ids=str,
)
def test_bias_after_the_scale_needs_a_place_before_one_shift(
    parse: Make, changes: dict[str, object]
) -> None:
    with pytest.raises(ProfileError, match=r"(?s)bias\.order.*fixed or shift"):
        parse(LATE | changes)


def test_unlisted_operators_may_run_beside_the_target(parse: Make) -> None:
    assert parse({"graph.unlisted_ops": "cpu"}).op_status("Softmax") is OpStatus.CPU


def test_bias_of_a_shifted_scale_and_few_channels_is_accepted(parse: Make) -> None:
    bias = parse({"bias.scale_rule": "act_times_weight_shifted", "bias.max_channels": 512}).bias
    assert (bias.scale_rule, bias.max_channels) == ("act_times_weight_shifted", 512)
