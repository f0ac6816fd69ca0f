"""No word of a contract is ignored: for each there are two contracts that differ in it alone, and
codes that differ, in the simulator and in its oracle; or it is refused by its name.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from textwrap import shorten
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from deployq.arithmetic import contract as contract_words
from deployq.arithmetic import requant_words
from deployq.arithmetic.contract import Accumulator, Contract, Form, Kind, Overflow, Rounding
from deployq.arithmetic.requant_words import (
    Addition,
    Averaging,
    BiasOrder,
    Functions,
    Gating,
    Mantissa,
    Normalization,
    Product,
    Rescaling,
    ScalePrecision,
    Softmax,
    ZeroPointPlace,
)
from deployq.errors import DeployqError
from deployq.simulator import run_graph
from tests.arithmetic import word_nets as nets
from tests.arithmetic.word_nets import Net
from tests.simulator.twin import evaluate

NAMES = {"Contract.name"}
"""Fields that reports alone read."""


@dataclass(frozen=True, eq=False)
class Case:
    """Two contracts that differ in one word.

    Args:
        net: whose codes they decide.
        one, other: the contracts.
        refused: of a word that the second one is refused for, what the error says.
    """

    net: Net
    one: Contract
    other: Contract
    refused: str = ""

    @property
    def change(self) -> tuple[str, Any, Any]:
        """The one field that differs, and its values."""
        first, second = facts(self.one), facts(self.other)
        ((key, value),) = ((k, v) for k, v in first.items() if v != second[k])
        return key, value, second[key]

    def __str__(self) -> str:
        return shorten("{} {} or {}".format(*self.change), 60)


def facts(words: Any) -> dict[str, Any]:
    """Every field of a contract and of what it holds, by class and name."""
    found: dict[str, Any] = {}
    for field in fields(words):
        value = getattr(words, field.name)
        inner = facts(value) if is_dataclass(value) else {}
        found |= inner or {f"{type(words).__name__}.{field.name}": value}
    return found


BASE = Form(Kind.FIXED, Rounding.HALF_UP)


def of(form: Form, **words: Any) -> Contract:
    return Contract("net", form, **words)


def forms(net: Net, base: Form = BASE, **changed: Any) -> Case:
    """``base`` with one word changed from its first value to its second, maybe refused."""
    ((key, values),) = changed.items()
    one, other, *refused = values
    return Case(net, of(replace(base, **{key: one})), of(replace(base, **{key: other})), *refused)


def registers(net: Net, one: Accumulator, other: Accumulator, refused: str = "") -> Case:
    return Case(net, of(BASE, accumulator=one), of(BASE, accumulator=other), refused)


FLOAT32, EIGHT = Form(Kind.FLOAT32), replace(BASE, multiplier_bits=8)
COARSE = replace(BASE, rounding=Rounding.FLOOR, left_shift=3)
F64, UP = ScalePrecision.F64, Rounding.HALF_UP

CASES = (
    forms(nets.SHARES, EIGHT, kind=(Kind.FIXED, Kind.THRESHOLDS)),
    forms(nets.SHARES, replace(EIGHT, rounding=Rounding.HALF_EVEN), kind=(Kind.EXACT, Kind.FIXED)),
    forms(nets.LONG, FLOAT32, kind=(Kind.FLOAT32, Kind.SHIFT)),
    forms(nets.LONG, FLOAT32, kind=(Kind.FLOAT32, Kind.VENDOR, "found: vendor")),
    *(forms(nets.TIED, rounding=(UP, mode)) for mode in (
        Rounding.HALF_EVEN, Rounding.HALF_AWAY, Rounding.HALF_DOWN, Rounding.HALF_ZERO,
        Rounding.FLOOR, Rounding.TRUNC)),
    forms(nets.SHARES, rounding=(Rounding.HALF_AWAY, Rounding.DOUBLE)),
    forms(nets.TIED_DEEP, rounding=(Rounding.DOUBLE, Rounding.DOUBLE_HALF_UP)),
    forms(nets.SHARES, EIGHT, rounding=(UP, Rounding.NATURAL_PLUS_ONE)),
    forms(nets.SHARES, multiplier_bits=(31, 8)),
    forms(nets.NEARLY_ONE, replace(BASE, multiplier_bits=15),
          mantissa=(Mantissa.NEAREST, Mantissa.REDUCED)),
    forms(nets.SHARES, shift_min=(-31, 40, "the right shift lies in the range")),
    forms(nets.SHARES, shift_max=(62, 8, "the right shift lies in the range")),
    forms(nets.MIXED, EIGHT, shared_shift=(False, True)),
    forms(nets.ADD, left_shift=(20, 3)),
    forms(nets.SIGNED_WINDOWS, FLOAT32, s8_as_u8=(False, True)),
    forms(nets.SHARES, code_bits=(8, 7, "known for codes of this width")),
    forms(nets.SLIGHT, EIGHT, post_shift=(None, 6)),
    forms(nets.SHARES, replace(BASE, zero_point=ZeroPointPlace.ACCUMULATOR), sum_cut=(0, 4)),
    *(forms(nets.WIDE, scale_precision=(F64, word)) for word in (
        ScalePrecision.F32, ScalePrecision.F32_PRODUCT, ScalePrecision.F32_RELATIVE,
        ScalePrecision.F32_RECIPROCAL, ScalePrecision.F32_QUOTIENT)),
    forms(nets.FAINT, scale_precision=(
        ScalePrecision.F32_RELATIVE, ScalePrecision.F32_RELATIVE_RAISED)),
    forms(nets.WIDE_OF_ONE, scale_precision=(F64, ScalePrecision.F32_PRODUCT_OF_ONE)),
    forms(nets.WIDE_MEAN, FLOAT32,
          scale_precision=(ScalePrecision.F32, ScalePrecision.F32_INVERSE)),
    forms(nets.TIED_MUL, FLOAT32,
          zero_point=(ZeroPointPlace.AFTER_ROUNDING, ZeroPointPlace.BEFORE_ROUNDING)),
    forms(nets.SHARES, zero_point=(None, ZeroPointPlace.ACCUMULATOR)),
    forms(nets.HALVES, zero_point=(ZeroPointPlace.ACCUMULATOR, ZeroPointPlace.ACCUMULATOR_APART)),
    forms(nets.MEAN, zero_point=(None, ZeroPointPlace.APART)),
    *(forms(nets.ADD, COARSE, addition=(Addition.RESCALED, word))
      for word in (Addition.RESCALED_ONCE, Addition.WEIGHTED_SUM)),
    forms(nets.ADD, replace(BASE, multiplier_bits=11),
          addition=(Addition.WEIGHTED_SUM, Addition.CUT_SUM)),
    forms(nets.MUL, replace(BASE, multiplier_bits=15), product=(Product.WHOLE, Product.CENTRED)),
    forms(nets.GATED, gating=(Gating.APART, Gating.JOINED)),
    forms(nets.CONCAT, replace(BASE, multiplier_bits=15),
          rescaling=(Rescaling.ONCE, Rescaling.TWICE)),
    forms(nets.JOINED_SUM, replace(BASE, multiplier_bits=15),
          rescaling=(Rescaling.TWICE, Rescaling.BY_MAKERS)),
    forms(nets.WIDE_MEAN, EIGHT, averaging=(Averaging.SCALED_SUM, Averaging.DIVIDED_MANTISSA)),
    forms(nets.MEAN, averaging=(
        Averaging.SCALED_SUM, Averaging.KEPT_SUM, "scale and zero point of its input")),
    forms(nets.KEPT_MEAN, COARSE, averaging=(Averaging.SCALED_SUM, Averaging.RAW_CODES)),
    forms(nets.TABLE, functions=(Functions.EXACT, Functions.RATIONAL)),
    forms(nets.TIED_TABLE, functions=(Functions.EXACT, Functions.RECIPROCAL)),
    forms(nets.TIED_GELU, functions=(Functions.EXACT, Functions.FLOAT32)),
    forms(nets.SLOPED, EIGHT, functions=(Functions.EXACT, Functions.INTEGER)),
    forms(nets.ROWS, softmax=(Softmax.REAL, Softmax.SCALED_TABLE)),
    forms(nets.ROWS_OF_TWO, softmax=(Softmax.REAL, Softmax.PAIRS)),
    forms(nets.ROWS, EIGHT, softmax=(Softmax.REAL, Softmax.INTEGER)),
    forms(nets.EVEN_ROW, softmax=(Softmax.REAL, Softmax.FLOAT_TABLE)),
    forms(nets.SHARED_ROWS, softmax=(Softmax.FLOAT_TABLE, Softmax.GEMMLOWP)),
    forms(nets.NORMED, EIGHT, normalization=(Normalization.REAL, Normalization.INTEGER)),
    registers(nets.DEEP, Accumulator(32, Overflow.WRAP), Accumulator(12, Overflow.WRAP)),
    registers(nets.DEEP, Accumulator(12, Overflow.WRAP), Accumulator(12, Overflow.SATURATE)),
    registers(nets.DEEP, Accumulator(12, Overflow.WRAP), Accumulator(12, Overflow.REJECT),
              "fits the 12-bit accumulator"),
    Case(nets.SHARES, of(EIGHT), of(EIGHT, bias_order=BiasOrder.AFTER_SCALE)),
    Case(nets.SHARES, of(BASE), of(BASE, by_op={"Gemm": EIGHT})),
)  # fmt: skip


def enums(module: ModuleType) -> Iterator[type[StrEnum]]:
    """The enumerations that a module defines."""
    for _, found in inspect.getmembers(module, inspect.isclass):
        if issubclass(found, StrEnum) and found.__module__ == module.__name__:
            yield found


def test_every_word_has_a_case() -> None:
    words = set(facts(of(BASE))) - NAMES
    for module in (contract_words, requant_words):
        words |= {repr(member) for enum in enums(module) for member in enum}
    covered = set()
    for case in CASES:
        key, *values = case.change
        covered |= {key, *map(repr, values)}  # words of two enumerations may be equal
    assert sorted(words - covered) == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_word_decides_codes_or_is_refused(case: Case) -> None:
    graph, inputs = case.net.graph, case.net.inputs
    found = []
    for contract in (case.one, case.other)[: 1 if case.refused else 2]:
        codes = run_graph(graph, contract, inputs).codes["y"].numpy()
        np.testing.assert_array_equal(codes, evaluate(graph, contract, inputs)["y"])
        found.append(codes)
    if case.refused:
        with pytest.raises(DeployqError, match=case.refused):
            run_graph(graph, case.other, inputs)
    else:
        assert (found[0] != found[1]).any()
