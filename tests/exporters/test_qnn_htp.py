"""Qualcomm HTP's emulator against the simulator; what it refuses; what a user without it sees."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.qnn_runs import compare, merged
from benchmarks.sweeps.biases import crowded
from benchmarks.sweeps.elementwise import pairs
from benchmarks.sweeps.layers import every_sum, rows, windows
from benchmarks.sweeps.pools import means, means_by_2, pools
from benchmarks.sweeps.products import products
from benchmarks.sweeps.qdq import qdq_file
from benchmarks.sweeps.sweep import Sweep
from benchmarks.sweeps.unsigned import gated, joined, shares_of_two, tables, unsigned
from deployq.arithmetic.contract import Contract
from deployq.arithmetic.form_names import DEPTHWISE_BY_2, FACTORS
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.qgraph import read_graph
from deployq_exporters.runtimes.qnn_htp import Session, installed
from deployq_targets import load_profile
from tests.exporters.graphs import parse
from tests.proprietary import proprietary

htp = proprietary(installed(), "qnn")


def _some(sweeps: Iterator[Sweep], first: int, step: int) -> list[Sweep]:
    return [unsigned(sweep) for sweep in islice(sweeps, first, None, step)]


def _plain_products() -> Iterator[Sweep]:
    return (sweep for sweep in products() if sweep.graph.nodes[0].bounds is None)


SWEPT = {
    "Conv": lambda: (*_some(every_sum("CONV_2D"), 3, 46), *_some(windows("CONV_2D"), 4, 12)),
    "Conv depthwise": lambda: _some(windows("DEPTHWISE_CONV_2D"), 0, 7),
    "biases": lambda: list(islice(crowded(), 3, None, 7)),
    "Gemm": lambda: _some(rows(), 1, 29),
    "MatMul": lambda: [s for s in _some(_plain_products(), 0, 5) if _form(s) == FACTORS],
    "Add": lambda: _some(pairs("ADD"), 5, 31),
    "Mul": lambda: _some(pairs("MUL"), 5, 31),
    "Concat": lambda: _some(joined(), 3, 53),
    "GlobalAveragePool": lambda: _some(means(), 7, 151),
    "AveragePool": lambda: _some(means_by_2(), 0, 7),
    "Sigmoid, Tanh": lambda: list(islice(tables(), 0, None, 3)),
    "SiLU": lambda: list(islice(gated(), 0, None, 3)),
    "Softmax": lambda: list(islice(shares_of_two(), 0, None, 3)),
    "MaxPool": lambda: _some(pools("MAX_POOL_2D"), 0, 23),
}
"""A part of what the benchmark runs."""


def contract() -> Contract:
    return load_profile("qnn-htp").contract()


@htp
@pytest.mark.parametrize("operator", SWEPT)
def test_operator_has_the_codes_of_htp(operator: str) -> None:
    tallies = [
        t for s in SWEPT[operator]() for t in compare(qdq_file(s), contract(), s.inputs).values()
    ]
    (tally,) = merged([replace(t, operator=operator) for t in tallies])
    assert tally.different == 0
    assert tally.codes > 200 and tally.distinct > 32


@htp
def test_another_multiplier_is_not_htps() -> None:
    (sweep,) = _some(pairs("ADD"), 82, 100)
    own = contract()
    other = replace(own, by_op={"Add": replace(own.form("Add"), multiplier_bits=12)})
    tallies = compare(qdq_file(sweep), other, sweep.inputs).values()
    assert sum(tally.different for tally in tallies) > 100


@htp
def test_convolutions_in_steps_of_2_have_another_kernel() -> None:
    every = _some(windows("DEPTHWISE_CONV_2D"), 0, 1)
    found = next(sweep for sweep in every if _form(sweep) == DEPTHWISE_BY_2)
    own = contract()
    plain = replace(own, by_op={"Conv": own.form("Conv")})
    for arithmetic, same in ((own, True), (plain, False)):
        tallies = compare(qdq_file(found), arithmetic, found.inputs).values()
        assert (sum(tally.different for tally in tallies) == 0) is same


@htp
def test_second_factors_around_another_zero_point_are_not_known() -> None:
    found = next(s for s in _some(_plain_products(), 0, 1) if _form(s) != FACTORS)
    own = contract()
    (tally,) = compare(qdq_file(found), own, found.inputs).values()
    assert (tally.codes, tally.different) == (0, 0)
    other = replace(own, by_op={"MatMul": own.form("MatMul")})
    (tally,) = compare(qdq_file(found), other, found.inputs).values()
    assert tally.different > 0


def _form(sweep: Sweep) -> str:
    return sweep.graph.nodes[0].form_name


TEXT = """(uint8[{batch},2,4,4] x) => (uint8[{batch},2,4,4] y)
    <float s = {{0.1}}, uint8 z = {{3}}>
    {{ a = DequantizeLinear(x, s, z)  b = {operator}(a)  y = QuantizeLinear(b, s, z) }}"""


@htp
def test_samples_run_one_by_one_and_codes_come_back() -> None:
    file = parse(TEXT.format(batch="N", operator="Relu"))
    graph = read_graph(file)
    x = np.arange(96, dtype=np.uint8).reshape(3, 2, 4, 4)
    outputs, codes = Session(file, {"y": graph.qparams["y"]}).run({"x": x})
    np.testing.assert_array_equal(outputs["y"], np.maximum(x, 3))
    np.testing.assert_array_equal(codes["y"], np.maximum(x, 3))
    assert (outputs["y"].dtype, codes["y"].dtype) == (np.uint8, np.int64)


@htp
def test_a_fixed_batch_and_a_refused_node_are_named() -> None:
    with pytest.raises(InputError, match="one sample at a time") as caught:
        Session(parse(TEXT.format(batch=4, operator="Relu")))
    assert caught.value.found == "a batch of 4"
    refused = parse(TEXT.format(batch="N", operator="Erf"))
    refused.graph.node[1].name = "curve"
    with pytest.raises(InputError, match="takes every node") as caught:
        Session(refused)
    assert "curve (Erf)" in str(caught.value.found)


@htp
def test_an_input_of_another_size_is_refused() -> None:
    session = Session(parse(TEXT.format(batch="N", operator="Relu")))
    with pytest.raises(InputError, match="QNN must run the file"):
        session.run({"x": np.zeros((1, 2, 4, 5), np.uint8)})


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    with pytest.raises(InputError, match="provider for ONNX Runtime is installed") as caught:
        Session(parse(TEXT.format(batch="N", operator="Relu")))
    assert "deployq[qnn]" in caught.value.next_step


@htp
def test_bundle_of_a_network_has_the_codes_of_htp(
    bundles: Callable[[str], Path], unseen: Dataset
) -> None:
    file = onnx.load(bundles("qnn-htp") / "model.onnx")
    tallies = compare(file, contract(), {file.graph.input[0].name: unseen.inputs["x"][:4]})
    inner = [t for t in merged(tallies.values()) if t.operator != "QuantizeLinear"]
    assert {t.operator for t in inner} >= {"Conv", "Gemm"}
    assert {t.operator: t.different for t in inner} == {t.operator: 0 for t in inner}
    assert all(t.codes for t in inner)
