"""What joins a Concat is computed at its parameters, where a contract says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from deployq.arithmetic.contract import QDQ, Contract, Form, Kind, Rounding
from deployq.arithmetic.requant_words import Rescaling
from deployq.qgraph import read_graph
from deployq.qgraph.concat_makers import concats_by_makers
from deployq.qgraph.nodes import Concat, IntegerGraph
from deployq.simulator import run_graph
from tests.exporters.graphs import parse

CONCAT = Form(Kind.FIXED, Rounding.HALF_UP, multiplier_bits=15)
MAKERS = replace(
    QDQ, by_op={"Concat": replace(CONCAT, rescaling=Rescaling.BY_MAKERS)}
)  # all but Concat in real arithmetic


def file(
    zero: int = 3,
    out: int = 9,
    way: str = "Transpose<perm = [0, 2, 1]>",
    join: str = "a, b",
    made: str = "Add(xr, xr)",
) -> onnx.ModelProto:
    """``a``: ``made``; ``b``: it moved; ``c``: the input moved. They join at twice the scale."""
    return parse(f"""(uint8[1,4,4] x) => (uint8[N,M,4] y, uint8[1,4,4] a)
        <float s = {{0.1}}, float t = {{0.2}}, uint8 z = {{{zero}}}, uint8 q = {{{out}}}>
        {{ xr = DequantizeLinear(x, s, z)
           ar = {made}  a = QuantizeLinear(ar, s, z)  ad = DequantizeLinear(a, s, z)
           br = {way}(ad)  b = QuantizeLinear(br, s, z)  bd = DequantizeLinear(b, s, z)
           cr = {way}(xr)  c = QuantizeLinear(cr, s, z)  cd = DequantizeLinear(c, s, z)
           yr = Concat<axis = 1>({", ".join(f"{name.strip()}d" for name in join.split(","))})
           y = QuantizeLinear(yr, t, q) }}""")


def joined(graph: IntegerGraph) -> tuple[str, ...]:
    return next(node for node in graph.nodes if isinstance(node, Concat)).inputs


def found(model: onnx.ModelProto, contract: Contract = MAKERS) -> tuple[str, ...]:
    return joined(concats_by_makers(read_graph(model), contract))


def test_sums_are_computed_at_the_parameters_of_the_concat_and_moved_inputs_are_not() -> None:
    assert found(file(join="a, b, c")) == ("a@y", "b@y", "c")
    assert found(file(join="a, a")) == ("a@y", "a@y")


def test_other_contracts_have_the_graph_as_it_is() -> None:
    graph = read_graph(file())
    twice = replace(QDQ, by_op={"Concat": replace(CONCAT, rescaling=Rescaling.TWICE)})
    assert concats_by_makers(graph, QDQ) is graph and concats_by_makers(graph, twice) is graph


@pytest.mark.parametrize(("zero", "out", "moves"), [(0, 9, False), (0, 0, True), (1, 0, True)])
def test_a_lowest_code_for_zero_stays_where_the_concat_has_another(
    zero: int, out: int, moves: bool
) -> None:
    assert found(file(zero, out)) == (("a@y", "b@y") if moves else ("a", "b"))


@pytest.mark.parametrize(("function", "first"), [("Sigmoid", "a@y"), ("Gelu", "a")])
def test_some_functions_are_computed_at_the_parameters_of_the_concat(
    function: str, first: str
) -> None:
    assert found(file(join="a, c", made=f"{function}(xr)")) == (first, "c")


def test_clamped_operands_and_other_movements_stay() -> None:
    assert found(file(way="Relu", join="a, b")) == ("a@y", "b")


def test_codes_skip_the_first_grid_and_other_readers_keep_theirs() -> None:
    x = np.arange(240, 256, dtype=np.uint8).reshape(1, 4, 4)
    run = run_graph(read_graph(file()), MAKERS, {"x": x})
    reals = (x.astype(np.int64) - 3) * 2
    np.testing.assert_array_equal(run.outputs["a"], np.full_like(x, 255))  # saturated
    np.testing.assert_array_equal(run.outputs["y"][:, :4], np.minimum(reals // 2 + 9, 255))
    assert set(run.codes) == {"a", "b", "c", "x", "y"}
