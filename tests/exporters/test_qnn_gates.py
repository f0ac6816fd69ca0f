"""A tensor times its own Sigmoid on Qualcomm HTP's emulator: one function, rounded once."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import deployq
from benchmarks.qnn_runs import compare
from benchmarks.sweeps.qdq import qdq_file
from benchmarks.sweeps.unsigned import hard_gates, slopes
from deployq.arithmetic.requant_words import Gating
from deployq.data import Dataset
from deployq.errors import UnsupportedError
from deployq.qgraph import read_graph
from deployq.simulator import run_graph
from deployq_exporters.runtimes.qnn_htp import Session, installed
from deployq_targets import load_profile
from tests.exporters.graphs import parse
from tests.proprietary import proprietary

htp = proprietary(installed(), "qnn")
X = np.arange(256, dtype=np.uint8).reshape(1, 4, 8, 8)
GATE = "g = Sigmoid(xd)  s = QuantizeLinear(g, ss, sz)  sd = DequantizeLinear(s, ss, sz)"
MUL = "m = Mul(xd, sd)  y = QuantizeLinear(m, ys, yz)"
READ = "yd = DequantizeLinear(y, ys, yz)  r = {}  t = QuantizeLinear(r, ts, tz)"

BODIES = {
    "alone": f"{GATE}  {MUL}  {READ.format('Add(yd, yd)')}",
    "gate first": f"{GATE}  m = Mul(sd, xd)  y = QuantizeLinear(m, ys, yz)"
    f"  {READ.format('Add(yd, xd)')}",
    "the gate is added": f"{GATE}  {MUL}  {READ.format('Add(yd, sd)')}",
    "the gate is a factor twice": f"{GATE}  {MUL}  {READ.format('Mul(yd, sd)')}",
    "to two grids": f"{GATE}  {MUL}  {READ.format('Mul(xd, sd)')}",
    "joined by a Concat": f"{GATE}  {MUL}  {READ.format('Concat<axis = 1>(yd, sd)')}",
    "gate of another": f"{GATE}  v = Add(xd, xd)  w = QuantizeLinear(v, ts, tz)"
    f"  wd = DequantizeLinear(w, ts, tz)  m = Mul(wd, sd)  y = QuantizeLinear(m, ys, yz)"
    f"  {READ.format('Add(yd, yd)')}",
    "a hard gate": GATE.replace("Sigmoid", "HardSigmoid")
    + f"  {MUL}  {READ.format('Add(yd, yd)')}",
}


def file(body: str, types: str = "uint8") -> onnx.ModelProto:
    return parse(f"""({types}[N,4,8,8] x) => ({types}[N,4,8,8] y, {types}[N,M,8,8] t)
        <float xs = {{0.05}}, {types} xz = {{130}}, float ss = {{0.00390625}}, {types} sz = {{0}},
         float ys = {{0.031}}, {types} yz = {{20}}, float ts = {{0.09}}, {types} tz = {{100}}>
        {{ xd = DequantizeLinear(x, xs, xz)  {BODIES[body]} }}""")


@htp
@pytest.mark.parametrize("body", BODIES)
def test_products_have_the_codes_of_htp(body: str) -> None:
    found = compare(file(body), load_profile("qnn-htp").contract(), {"x": X})
    assert {name: tally.different for name, tally in found.items()} == dict.fromkeys(found, 0)
    assert found["y"].operator == ("Mul" if body in ("gate of another", "a hard gate") else "Swish")
    assert min(found[name].distinct for name in "yt") > 32


@htp
def test_functions_of_one_value_have_the_codes_of_htp() -> None:
    """One of ten: hard gates, then Elu, LeakyRelu, HardSwish and Gelu."""
    operators, contract = set(), load_profile("qnn-htp").contract()
    for sweep in islice(chain(hard_gates(), slopes()), 0, None, 10):
        (found,) = compare(qdq_file(sweep), contract, sweep.inputs).values()
        assert (found.codes, found.different) == (256, 0), sweep.graph
        operators.add(found.operator)
    assert operators == {"HardSigmoid", "Elu", "LeakyRelu", "HardSwish", "Gelu"}


@htp
def test_two_roundings_are_not_htps() -> None:
    own = load_profile("qnn-htp").contract()
    apart = replace(own.form("Mul"), gating=Gating.APART)
    by_op = {**own.by_op, "Mul": apart}
    found = compare(file("alone"), replace(own, by_op=by_op), {"x": X})
    assert found["y"].different > 20


def test_wider_codes_are_refused() -> None:
    graph, contract = read_graph(file("alone", "uint16")), load_profile("qnn-htp").contract()
    with pytest.raises(UnsupportedError, match="known for codes of this width") as caught:
        run_graph(graph, contract, {"x": X.astype(np.uint16)})
    assert (caught.value.found, caught.value.allowed) == ("u16[0,65535]", "8 bits")


class Blocks(nn.Module):
    """SiLU behind a convolution, and behind ones with a BatchNorm, dense and depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.dense = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.deep = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8)
        )
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.first(x))
        x = F.silu(self.dense(x)) + x
        return self.last(F.silu(self.deep(x)))


def blocks() -> Blocks:
    net = Blocks()
    for norm in (net.dense[1], net.deep[1]):
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.05, 0.3)
    return net.eval()


@htp
def test_network_has_the_codes_of_htp_end_to_end(tmp_path: Path) -> None:
    data = Dataset({"x": np.random.default_rng(0).normal(size=(16, 3, 12, 12)).astype(np.float32)})
    prepared = deployq.calibrate(
        deployq.prepare(blocks(), [torch.zeros(2, 3, 12, 12)], "qnn-htp"), data
    )
    deployq.export(prepared, tmp_path / "bundle", data, io="integer")
    model = onnx.load(tmp_path / "bundle" / "model.onnx")
    graph, contract = read_graph(model), load_profile("qnn-htp").contract()
    (name,) = graph.inputs
    q = graph.qparams[name].qtype
    codes = np.random.default_rng(1).integers(q.qmin, q.qmax + 1, (6, 3, 12, 12)).astype(q.dtype)
    wanted = run_graph(graph, contract, {name: codes}).outputs
    found, _ = Session(model).run({name: codes})
    for output, reals in wanted.items():
        np.testing.assert_array_equal(found[output], reals)
        assert len(np.unique(reals)) > 64
    report = deployq.verify(tmp_path / "bundle", data)
    assert [miss for parity in report.parities for miss in parity.misses()] == []
