"""The integer accumulators beside the codes of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import deployq
from deployq.arithmetic.contract import Overflow
from deployq.rendering import simulation_facts, simulation_lines
from deployq.simulator import Simulation
from tests.graph.networks import profile_with
from tests.overflow.layers import register
from tests.qgraph.texts import qdq
from tests.simulator.nets import reals, small_net

BODY = """wd = DequantizeLinear(w, sw)
    bd = DequantizeLinear(b, sb)
    v = Conv(xd, wd, bd)"""
X = np.random.default_rng(0).uniform(-1, 60, (2, 3, 8, 8)).astype(np.float32)
W = np.arange(-6, 6).reshape(4, 3)
B = np.array([10, -20, 30, 40]).reshape(1, 4, 1, 1)


def simulated(target: Any, body: str = BODY) -> Simulation:
    return deployq.simulate(qdq(body), {"x": X}, target, sums=True)


def products(found: Simulation) -> Any:
    return np.einsum("nchw,oc->nohw", found.codes["xq"].numpy().astype(np.int64) - 3, W)


def test_a_data_set_is_fed_as_its_arrays_are() -> None:
    fed = deployq.simulate(qdq(BODY), deployq.Dataset({"x": X}), "int8-npu")
    for name, codes in simulated("int8-npu").codes.items():
        assert torch.equal(fed.codes[name], codes)


def test_sums_hold_the_bias_where_the_accumulator_does() -> None:
    early, late = simulated("int8-npu"), simulated(profile_with(
        "int8-npu", bias__order="after_scale", bias__scale_rule="free"))  # fmt: skip
    np.testing.assert_array_equal(early.sums["yq"], products(early) + B)
    np.testing.assert_array_equal(late.sums["yq"], products(late))
    assert list(early.sums) == ["yq"] and early.sums["yq"].dtype is torch.int64


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SATURATE])
def test_sums_are_those_that_the_accumulator_holds(overflow: Overflow) -> None:
    found = simulated(register(10, overflow, base="int8-npu"))
    exact, held = products(found) + B, found.sums["yq"].numpy()
    wrapped = (exact + 512) % 1024 - 512
    expected = wrapped if overflow is Overflow.WRAP else np.clip(exact, -512, 511)
    np.testing.assert_array_equal(held, expected)
    assert (held != exact).any()


def test_every_layer_and_product_has_sums() -> None:
    body = "k = Transpose <perm = [0, 1, 3, 2]> (xd)\nv = MatMul(xd, k)"
    found = simulated("int8-npu", body)
    x = found.codes["xq"].numpy().astype(np.int64) - 3
    np.testing.assert_array_equal(found.sums["yq"], x @ x.swapaxes(2, 3))
    net = deployq.simulate(small_net(17), {"x": reals(1)}, "ort-cpu", sums=True)
    assert len(net.sums) == 4
    assert all(sums.shape == net.codes[name].shape for name, sums in net.sums.items())


def test_without_asking_there_are_none() -> None:
    found = deployq.simulate(qdq(BODY), {"x": X}, "int8-npu")
    assert found.sums == {} and simulation_facts(found)["sums"] == {}


def test_operators_in_float_are_named() -> None:
    root = "k = Sqrt(xd)\nkq = QuantizeLinear(k, sx, zx)\nkd = DequantizeLinear(kq, sx, zx)\n"
    found = simulated("ort-cpu", root + BODY.replace("xd", "kd"))
    assert found.floats == ("k",) and simulation_facts(found)["floats"] == ["k"]
    lines = simulation_lines(found)
    assert lines[-1] == "float: k" and any("  sums " in line for line in lines)
