"""Normalizations on codes: where a contract has them in integers, and the file allows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deployq.arithmetic.contract import QDQ, Contract, Form, Kind, Rounding
from deployq.arithmetic.requant_words import Normalization
from deployq.errors import InputError
from deployq.qgraph import IntegerGraph
from deployq.qgraph.row_norms import rows_on_codes
from deployq.simulator import run_graph
from tests.qgraph.texts import kinds, node, read

FORM = Form(Kind.FIXED, Rounding.HALF_UP, normalization=Normalization.INTEGER)
INTEGERS = Contract("chip", FORM)
GAMMA, BETA = np.float32([1, -2, 0.5]), np.float32([0, 0.25, -1])
ON_CODES = ["Quantize", "RowNormalization", "Dequantize"]
IN_FLOAT = ["Quantize", "Dequantize", "Float", "Quantize", "Dequantize"]


def normed(body: str = "v = LayerNormalization <epsilon = 0.5> (xd, g, b)") -> IntegerGraph:
    return read(
        body,
        shape="N,3,8,3",
        g=GAMMA,
        b=BETA,
        one=np.float32([2]),
        grid=np.ones((3, 3), np.float32),
    )


def test_a_contract_decides() -> None:
    graph = normed()
    assert kinds(graph) == IN_FLOAT
    assert rows_on_codes(graph, QDQ) is graph
    found = rows_on_codes(graph, INTEGERS)
    assert kinds(found) == ON_CODES and rows_on_codes(found, INTEGERS) is found
    made = node(found, "yq")
    assert (made.name, made.inputs) == ("v", ("xq",))
    assert made.norm.epsilon == 0.5 and made.norm.centred
    assert made.norm.scale.tolist() == GAMMA.tolist() and made.norm.bias.tolist() == BETA.tolist()


def test_numbers_may_be_dequantized_constants_and_rms_has_none_taken_off() -> None:
    text = "g2 = DequantizeLinear(w8, sw, zw)\nv = RMSNormalization(xd, g2)"
    graph = read(text, opset=23, shape="N,3,8,3", w8=np.int8([2, -4, 6]))
    norm = node(rows_on_codes(graph, INTEGERS), "yq").norm
    assert norm.scale.tolist() == [0.25, -0.5, 0.75]
    assert norm.bias is None and not norm.centred and norm.epsilon == np.float32(1e-5)


@pytest.mark.parametrize(
    "body",
    [
        "v = LayerNormalization <axis = 1> (xd, g, b)",
        "v = LayerNormalization(xd, grid)",
        "v = LayerNormalization(xd, one)",
        "v = LayerNormalization(xd, xd)",
        "a = Sub(xd, xd)\nv = LayerNormalization(a, g, b)",
    ],
)
def test_others_stay_in_float(body: str) -> None:
    graph = normed(body)
    assert kinds(rows_on_codes(graph, INTEGERS)) == kinds(graph)
    assert "Float" in kinds(graph)


def test_what_is_read_as_reals_too_stays_in_float() -> None:
    both = normed("a = LayerNormalization(xd, g, b)\nv = Sub(a, a)")
    assert kinds(rows_on_codes(both, INTEGERS)) == kinds(both)
    other = normed("c = Sub(xd, xd)\nv = LayerNormalization(xd, g, b)")
    assert kinds(rows_on_codes(other, INTEGERS)).count("Dequantize") == 2  # Sub reads reals


def test_the_simulator_runs_them_on_codes() -> None:
    graph = normed()
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 3)).astype(np.float32)
    real, integer = (run_graph(graph, contract, {"x": x}) for contract in (QDQ, INTEGERS))
    assert real.floats == ("v",) and integer.floats == ()
    assert real.codes.keys() == integer.codes.keys()
    assert int((real.codes["yq"].long() - integer.codes["yq"].long()).abs().max()) <= 1


def test_rows_of_another_length_are_refused() -> None:
    graph = rows_on_codes(normed(), INTEGERS)
    made = node(graph, "yq")
    other = replace(made, norm=replace(made.norm, scale=np.ones(5, np.float32), bias=None))
    wrong = replace(graph, nodes=tuple(other if n is made else n for n in graph.nodes))
    with pytest.raises(InputError, match=r"(?s)node v .*shapes fit.*\(\.\.\., 5\)"):
        run_graph(wrong, INTEGERS, {"x": np.zeros((1, 3, 4, 3), np.float32)})
