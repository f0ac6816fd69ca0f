"""What a run records, takes and refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from deployq.arithmetic.contract import QDQ, Accumulator, Contract, Form, Kind, Overflow
from deployq.errors import AccumulatorOverflowError, InputError, UnsupportedError
from deployq.qgraph import read_graph
from deployq.simulator import run_graph
from tests.qgraph.texts import model, qdq

CHAIN = """g (float[N] x) => (float[N] y, uint8[N] b) {
    a = QuantizeLinear(x, sx, zx)
    ad = DequantizeLinear(a, sx, zx)
    v = Add(ad, ad)
    b = QuantizeLinear(v, sx, zx)
    bd = DequantizeLinear(b, sx, zx)
    w = Add(bd, bd)
    c = QuantizeLinear(w, sx, zx)
    y = DequantizeLinear(c, sx, zx)
}"""
X = np.float32([0, 1, 2.5])


def test_codes_are_recorded_in_order() -> None:
    run = run_graph(read_graph(model(CHAIN)), QDQ, {"x": X})
    assert {name: codes.tolist() for name, codes in run.codes.items()} == {
        "a": [3, 5, 8], "b": [3, 7, 13], "c": [3, 11, 23],
    }  # fmt: skip
    assert list(run.codes) == ["a", "b", "c"]
    assert run.outputs["y"].tolist() == [0, 4, 10]
    assert (run.outputs["b"].dtype, run.outputs["y"].dtype) == (np.uint8, np.float32)


def test_forced_codes_feed_what_follows_and_are_not_recorded() -> None:
    forced = {"b": torch.tensor([4, 4, 200])}
    run = run_graph(read_graph(model(CHAIN)), QDQ, {"x": X}, forced=forced)
    assert run.codes["b"].tolist() == [3, 7, 13]
    assert run.codes["c"].tolist() == [5, 5, 255]
    assert run.outputs["b"].tolist() == [4, 4, 200]


def test_codes_that_are_not_kept_are_given_up() -> None:
    graph, forced = read_graph(model(CHAIN)), {"b": torch.tensor([4, 4, 200])}
    whole = run_graph(graph, QDQ, {"x": X}, forced=forced)
    for keep in ((), ("b",)):
        run = run_graph(graph, QDQ, {"x": X}, forced=forced, keep=keep)
        assert tuple(run.codes) == keep
        assert all(np.array_equal(run.outputs[n], whole.outputs[n]) for n in ("y", "b"))


@pytest.mark.parametrize(("forced", "rule"), [
    ({"d": torch.zeros(3)}, r"forced tensor d: only computed codes .* can be forced"),
    ({"b": torch.zeros(2)}, r"(?s)forced tensor b: .* shape .*found: \(2,\).*allowed: \(3,\)"),
])  # fmt: skip
def test_other_forced_codes_are_refused(forced: dict[str, torch.Tensor], rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        run_graph(read_graph(model(CHAIN)), QDQ, {"x": X}, forced=forced)


def test_a_missing_input_is_named() -> None:
    rule = r"(?s)input x: every graph input needs an array.*found: z.*allowed: x"
    with pytest.raises(InputError, match=rule):
        run_graph(read_graph(model(CHAIN)), QDQ, {"z": X})


INTEGERS = """g (uint8[N] x) => (uint16[N] y) {
    d = DequantizeLinear(x, sx, zx)
    y = QuantizeLinear <output_dtype = 4> (d, sy)
}"""


def test_integer_borders() -> None:
    graph = read_graph(model(INTEGERS, opset=21))
    run = run_graph(graph, QDQ, {"x": np.array([3, 4, 255])})
    assert run.outputs["y"].tolist() == [0, 2, 504]
    assert run.outputs["y"].dtype == np.uint16
    assert run.codes["x"].tolist() == [3, 4, 255]


@pytest.mark.parametrize("x", [np.float32([3]), np.array([256]), np.array([-1])])
def test_what_is_no_codes_is_refused(x: Any) -> None:
    rule = r"(?s)input x: this graph input takes codes.*allowed: integers in 0\.\.255"
    with pytest.raises(InputError, match=rule):
        run_graph(read_graph(model(INTEGERS, opset=21)), QDQ, {"x": x})


PRODUCT = "wd = DequantizeLinear(k, sw)\nv = MatMul(xd, wd)"
NARROW: dict[str, Any] = {
    "k": np.full((3, 1), 100, np.int8), "sw": np.float32(1), "sx": np.float32(1),
    "zx": np.uint8(0), "sy": np.float32(512), "zy": np.uint8(0),
}  # fmt: skip


@pytest.mark.parametrize(("overflow", "code"), [
    (Overflow.WRAP, -15536 / 512), (Overflow.SATURATE, 32767 / 512),
])  # fmt: skip
def test_a_narrow_accumulator(overflow: Overflow, code: float) -> None:
    graph = read_graph(qdq(PRODUCT, shape="N,3", out="N,1", **NARROW))  # 50 000 in 16 bits
    contract = Contract("narrow", Form(Kind.EXACT), accumulator=Accumulator(16, overflow))
    codes = run_graph(graph, contract, {"x": np.float32([[250, 200, 50]])}).codes["yq"]
    assert codes.tolist() == [[max(round(code), 0)]]


@pytest.mark.parametrize("leading", [(), (2,)])
def test_an_overflow_can_be_rejected(leading: tuple[int, ...]) -> None:
    """The output channel is the last axis of a product, whatever its rank."""
    weights = NARROW | {"k": np.int8([[1, 100]] * 3)}
    shape = "N,3" if not leading else "A,N,3"
    graph = read_graph(qdq(PRODUCT, shape=shape, out=shape.replace("3", "2"), **weights))
    contract = Contract("narrow", Form(Kind.EXACT), accumulator=Accumulator(16, Overflow.REJECT))
    rule = r"(?s)node v \(MatMul\), sum, output channel 1: .*found: 50100"
    with pytest.raises(AccumulatorOverflowError, match=rule):
        run_graph(graph, contract, {"x": np.full((*leading, 1, 3), 167, np.float32)})


def test_an_arithmetic_that_is_not_public_is_refused() -> None:
    rule = r"node v \(Add\), Add: the operator has no arithmetic of this kind"
    with pytest.raises(UnsupportedError, match=rule):
        run_graph(read_graph(model(CHAIN)), Contract("secret", Form(Kind.VENDOR)), {"x": X})


def test_an_input_smaller_than_the_window_names_the_node() -> None:
    graph = read_graph(qdq("v = AveragePool <kernel_shape = [3, 3]> (xd)", shape="N,3,H,W"))
    with pytest.raises(InputError, match=r"node v \(AveragePool\), window: a window fits"):
        run_graph(graph, QDQ, {"x": np.zeros((1, 3, 2, 2), np.float32)})


def test_clamped_inputs() -> None:
    text = """g (float[N] x) => (uint8[N] y) {
        c = Clip(x, low, high)
        y = QuantizeLinear(c, sy, zy)
    }"""
    graph = read_graph(model(text, low=np.float32(-0.5), high=np.float32(2)))
    x = np.float32([-9, -0.4, 0, 1.9, 9])
    assert run_graph(graph, QDQ, {"x": x}).outputs["y"].tolist() == [3, 3, 5, 13, 13]


def test_codes_read_with_other_parameters() -> None:
    text = """g (float[N] x) => (float[N] y) {
        q = QuantizeLinear(x, sx, zx)
        y = DequantizeLinear(q, sy, zy)
    }"""
    run = run_graph(read_graph(model(text)), QDQ, {"x": X})
    assert run.outputs["y"].tolist() == [(code - 5) / 4 for code in (3, 5, 8)]
