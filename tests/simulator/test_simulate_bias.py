"""Where the bias of a layer is added: as the contract has it, whatever the file states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deployq.arithmetic.contract import QDQ, Contract, Form, Kind, Rounding
from deployq.arithmetic.requant_words import BiasOrder
from deployq.errors import UnsupportedError
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Linear
from deployq.simulator import run_graph
from deployq_targets import load_profile
from tests.qgraph.texts import qdq

BODY = """wd = DequantizeLinear <axis = 0> (W, S2, Z2)
    bd = DequantizeLinear <axis = 0> (B, SB)
    v = Conv(xd, wd, bd)"""
W = np.int8([[[[1]], [[-2]]], [[[3]], [[1]]]])
S2, SX, SY = np.float32([0.5, 0.3]), np.float32(0.125), np.float32(0.25)
B = np.int32([1001, -77])
X = np.random.default_rng(0).normal(0, 4, (3, 2, 5, 5)).astype(np.float32)
EARLY = Contract("early", Form(Kind.FIXED, Rounding.HALF_UP, multiplier_bits=8, shared_shift=True))
LATE = replace(EARLY, name="late", bias_order=BiasOrder.AFTER_SCALE)


def graph(bias_scale: Any) -> Any:
    constants = {"W": W, "S2": S2, "Z2": np.int8([0, 0]), "B": B, "SB": bias_scale, "sx": SX,
                 "zx": np.uint8(128), "sy": SY, "zy": np.uint8(120)}  # fmt: skip
    return read_graph(qdq(BODY, shape="N,2,5,5", **constants))


def by_hand(read: Any, steps: list[int]) -> np.ndarray[Any, Any]:
    """``(acc * M + b + half) >> shift`` in Python integers; M and the shift of NE16's form."""
    codes = run_graph(read, QDQ, {"x": X}).codes["xq"].numpy().astype(object) - 128
    real = [float(SX) * float(s) / float(SY) for s in S2]  # 0.25 and 0.15
    shift = 9  # 0.25 * 2**9 = 128 fills 8 bits
    mantissas = [round(r * 2**shift) for r in real]
    acc = np.einsum("nchw,oc->nohw", codes, W[:, :, 0, 0].astype(object))
    total = [(acc[:, o] * mantissas[o] + steps[o] + (1 << (shift - 1))) >> shift for o in (0, 1)]
    return np.clip(np.stack(total, 1).astype(int) + 120, 0, 255)


def test_a_late_bias_has_the_steps_of_the_file() -> None:
    read = graph(np.full(2, SY * np.float32(2.0**-9)))
    found = run_graph(read, LATE, {"x": X}).codes["yq"].numpy()
    np.testing.assert_array_equal(found, by_hand(read, B.tolist()))
    bare = [replace(n, bias=None) if isinstance(n, Linear) else n for n in read.nodes]
    without = run_graph(replace(read, nodes=tuple(bare)), LATE, {"x": X}).codes["yq"].numpy()
    np.testing.assert_array_equal(without, by_hand(read, [0, 0]))


def test_another_bias_becomes_the_nearest_late_steps() -> None:
    """Codes on ``s_x s_w`` are worth 128 and 76.8 late steps."""
    read = graph(SX * S2)
    steps = [round(int(b) * float(np.float32(SX * s)) / float(SY) * 2**9)
             for b, s in zip(B, S2, strict=True)]  # fmt: skip
    found = run_graph(read, LATE, {"x": X}).codes["yq"].numpy()
    np.testing.assert_array_equal(found, by_hand(read, steps))


def test_real_arithmetic_adds_what_the_file_states() -> None:
    read = graph(np.full(2, SY * np.float32(2.0**-9)))
    codes = run_graph(read, QDQ, {"x": X}).codes
    centred = codes["xq"].numpy().astype(float) - 128
    acc = np.einsum("nchw,oc->nohw", centred, W[:, :, 0, 0].astype(float))
    scale = (SX * S2.astype(float)).reshape(1, 2, 1, 1)
    reals = acc * scale + B.reshape(1, 2, 1, 1) * float(SY) * 2.0**-9
    expected = np.clip(np.rint(reals / float(SY)) + 120, 0, 255)
    np.testing.assert_array_equal(codes["yq"].numpy(), expected)


@pytest.mark.parametrize("contract", [EARLY, load_profile("ort-cpu").contract()])
def test_a_bias_that_is_no_whole_steps_of_the_sums_is_refused(contract: Contract) -> None:
    rule = r"(?s)node v.*the bias scale is the input scale times .*found: .*allowed: .*next: "
    with pytest.raises(UnsupportedError, match=rule):
        run_graph(graph(SX * S2 * np.float32(1.001)), contract, {"x": X})
