from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.affine import dequantize, quantize
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.kernels import lookup as kernels
from deployq.arithmetic.oracle import lookup as oracle
from deployq.arithmetic.oracle.lookup import UnaryParams
from deployq.arithmetic.requant_words import Functions
from deployq.errors import QuantizationError, UnsupportedError
from deployq.qparams import QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import S8, S32, U8, Draw, qtypes, seeds, tensor

PARAMS = UnaryParams(alpha=0.125, beta=0.25, low=-1.5, high=2.5)
FUNCTIONS: dict[str, Callable[[float], float]] = {
    "Relu": lambda x: max(x, 0.0),
    "Clip": lambda x: min(max(x, -1.5), 2.5),
    "LeakyRelu": lambda x: x if x >= 0 else 0.125 * x,
    "Sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "Tanh": math.tanh,
    "HardSigmoid": lambda x: min(max(0.125 * x + 0.25, 0.0), 1.0),
    "Swish": lambda x: x / (1 + math.exp(-0.125 * x)),
    "HardSwish": lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0),
    "Elu": lambda x: x if x >= 0 else 0.125 * math.expm1(x),
    "Gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2.0))),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from([U8, S8, QType(4, True), QType(8, True, narrow_range=True)]), qtypes)
def test_a_table_is_the_function_of_each_code(
    function: str, seed: int, xt: QType, yt: QType
) -> None:
    draw = Draw(seed)
    qx, out = draw.params(xt), draw.params(yt)
    table = oracle.lookup_table(function, qx, out, params=PARAMS)
    codes = np.arange(xt.qmin, xt.qmax + 1)
    reals = [FUNCTIONS[function](float(x)) for x in dequantize(codes, qx)]
    expected = quantize(np.array(reals, np.float32), out)
    assert table.dtype == np.int64
    assert table.tolist() == expected.tolist()
    assert kernels.lookup_table(function, qx, out, params=PARAMS).tolist() == table.tolist()


@pytest.mark.parametrize("function", oracle.RECIPROCAL)
@settings(max_examples=25, deadline=None)
@given(seeds)
def test_reciprocals_round_after_the_zero_point(function: str, seed: int) -> None:
    draw, one = Draw(seed), np.float32(1)
    qx, out = draw.params(U8), draw.params(U8)
    form = Form(Kind.EXACT, functions=Functions.RECIPROCAL)
    table = oracle.lookup_table(function, qx, out, params=PARAMS, form=form)
    for x, code in zip(dequantize(np.arange(256), qx), table.tolist(), strict=True):
        step = np.float32(FUNCTIONS[function](float(x))) * (one / out.scale)
        rounded = float(np.rint(step + np.float32(out.zero_point)))
        assert code == min(max(rounded, 0), 255)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@settings(max_examples=25, deadline=None)
@given(seeds)
def test_litert_s_gelu_rounds_away_before_the_zero_point(approximate: str, seed: int) -> None:
    """A code is that of the exact function, or its neighbour where float32 steps decide."""
    draw, params = Draw(seed), UnaryParams(approximate=approximate)
    qx, out = draw.params(S8), draw.params(S8)
    form = Form(Kind.EXACT, functions=Functions.FLOAT32)
    table = oracle.lookup_table("Gelu", qx, out, params=params, form=form)
    exact = oracle.lookup_table("Gelu", qx, out, params=params)
    assert np.abs(table - exact).max() <= 1
    ties = QParams(S8, np.float32(1), np.int64(0)), QParams(S8, np.float32(2), np.int64(3))
    tied = oracle.lookup_table("Gelu", *ties, params=params, form=form)
    above = np.arange(10, 128)  # the identity: x / 2 is half way for every other code
    assert tied[above + 128].tolist() == [min(x // 2 + x % 2 + 3, 127) for x in above.tolist()]


def test_htps_hard_sigmoid_is_a_line_in_float32() -> None:
    """Scales and zero points of the emulator's own tables."""
    form, line = Form(Kind.EXACT, functions=Functions.RECIPROCAL), UnaryParams(0.2, 0.5)
    qx, out = (QParams(U8, np.float32(s), np.int64(z)) for s, z in ((1 / 32, 119), (0.005, 21)))
    x = dequantize(np.arange(256), qx)
    value = np.clip(x * np.float32(0.2) + np.float32(0.5), np.float32(0), np.float32(1))
    steps = value * (np.float32(1) / out.scale) + np.float32(21)
    table = oracle.lookup_table("HardSigmoid", qx, out, params=line, form=form)
    assert table.tolist() == np.clip(np.rint(steps), 0, 255).astype(int).tolist()
    exact = np.clip(x.astype(np.float64) * float(np.float32(0.2)) + 0.5, 0, 1).astype(np.float32)
    others = np.rint(exact * (np.float32(1) / out.scale) + np.float32(21))
    assert (others != table).sum() == 2


@settings(max_examples=30, deadline=None)
@given(seeds, qtypes)
def test_applying_is_indexing(seed: int, xt: QType) -> None:
    draw = Draw(seed)
    table = draw.codes(S8, xt.qmax - xt.qmin + 1)
    x = draw.codes(xt, 3, 4)
    found = oracle.apply_table(x, xt, table)
    expected = [[table[code - xt.qmin] for code in row] for row in x.astype(int).tolist()]
    assert (found.tolist(), str(found.dtype)) == (expected, "int8")
    for given_table in (table, torch.from_numpy(table)):
        torch_found = kernels.apply_table(tensor(x), xt, given_table)
        assert (torch_found.tolist(), torch_found.dtype) == (expected, torch.int8)


def test_missing_attributes_are_those_of_onnx() -> None:
    q = QParams(S8, np.asarray(1 / 64, np.float32))
    for function, params in [("LeakyRelu", (0.01, 0.0)), ("HardSigmoid", (0.2, 0.5))]:
        stated = oracle.lookup_table(function, q, q, params=UnaryParams(*params))
        assert oracle.lookup_table(function, q, q).tolist() == stated.tolist()


def test_far_inputs_neither_overflow_nor_warn() -> None:
    qx = QParams(S8, np.asarray(1e30, np.float32))
    out = QParams(U8, np.asarray(1 / 256, np.float32))
    with np.errstate(all="raise", under="ignore"):
        table = oracle.lookup_table("Sigmoid", qx, out)
    assert table[[0, 128, 255]].tolist() == [0, 128, 255]


def test_what_has_no_table_is_refused() -> None:
    q, wide = (QParams(t, np.asarray(1, np.float32)) for t in (U8, S32))
    with pytest.raises(UnsupportedError, match=r"Erf(?s:.)*Relu, Clip"):
        oracle.lookup_table("Erf", q, q)
    with pytest.raises(UnsupportedError, match=r"2\*\*16 entries"):
        oracle.lookup_table("Relu", wide, q)
    for module, x in ((oracle, np.zeros(2, int)), (kernels, torch.zeros(2, dtype=torch.int64))):
        with pytest.raises(QuantizationError, match="255 entries"):
            module.apply_table(x, U8, np.zeros(255, int))
