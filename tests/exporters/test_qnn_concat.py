"""What joins a Concat on Qualcomm HTP's emulator: computed at the Concat's own parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from benchmarks.qnn_runs import compare
from deployq.arithmetic.requant_words import Rescaling
from deployq_exporters.runtimes.qnn_htp import installed
from deployq_targets import load_profile
from tests.exporters.graphs import parse
from tests.proprietary import proprietary

htp = proprietary(installed(), "qnn")
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (4, 8, 8, 8), dtype=np.uint8)
WEIGHT = ", ".join(map(str, RNG.integers(-127, 128, 64)))
BIAS = ", ".join(map(str, RNG.integers(-3000, 3000, 8)))
LAYER = "wd = DequantizeLinear(w, ws)  bd = DequantizeLinear(b, bs)  {} = Conv(xd, wd, bd)"

MADE = {
    "Conv": LAYER.format("pr"),
    "Add": "pr = Add(xd, vd)",
    "Mul": "pr = Mul(xd, vd)",
    "Concat": f"{LAYER.format('kr')}  k = QuantizeLinear(kr, s, z)  kd = DequantizeLinear(k, s, z)"
    "  pr = Concat<axis = 1>(kd, kd)",
}
MOVED = {
    "as it is": "md = DequantizeLinear(p, s, z)",
    "moved": "pd = DequantizeLinear(p, s, z)  mr = Transpose<perm = [0, 1, 3, 2]>(pd)"
    "  m = QuantizeLinear(mr, s, z)  md = DequantizeLinear(m, s, z)",
}


def file(made: str, moved: str, zero: int, out: int) -> onnx.ModelProto:
    """``p``, made on a grid of its own, joins ``v`` on the grid of the output."""
    scale = {"Conv": 0.03, "Concat": 0.03, "Add": 0.025, "Mul": 0.015}[made]
    text = f"""(uint8[N,8,8,8] x, uint8[N,8,8,8] v) => (uint8[N,M,8,8] y, uint8[N,O,8,8] p)
        <float xs = {{0.015625}}, uint8 xz = {{128}}, int8[8,8,1,1] w = {{{WEIGHT}}},
         float ws = {{0.0078125}}, int32[8] b = {{{BIAS}}}, float bs = {{0.0001220703125}},
         float s = {{{scale}}}, uint8 z = {{{zero}}}, uint8 q = {{{out}}},
         float t = {{{1.2 * scale:.6f}}}>
        {{ xd = DequantizeLinear(x, xs, xz)  vd = DequantizeLinear(v, t, q)
           {MADE[made]}  p = QuantizeLinear(pr, s, z)  {MOVED[moved]}
           yr = Concat<axis = 1>(vd, md)
           y = QuantizeLinear(yr, t, q) }}"""
    return parse(text)


@htp
@pytest.mark.parametrize(("zero", "out"), [(120, 128), (0, 0), (0, 7), (3, 0), (255, 9)])
@pytest.mark.parametrize("moved", MOVED)
@pytest.mark.parametrize("made", MADE)
def test_operands_have_the_codes_of_htp(made: str, moved: str, zero: int, out: int) -> None:
    contract = load_profile("qnn-htp").contract()
    fed = {"x": X, "v": X[::-1].copy()}
    found = compare(file(made, moved, zero, out), contract, fed)
    assert {name: tally.different for name, tally in found.items()} == dict.fromkeys(found, 0)
    assert found["y"].distinct > 32


@htp
def test_a_second_rounding_is_not_htps() -> None:
    own = load_profile("qnn-htp").contract()
    twice = replace(own.form("Concat"), rescaling=Rescaling.TWICE)
    fed = {"x": X, "v": X}
    found = compare(file("Conv", "as it is", 120, 128), replace(own, by_op={"Concat": twice}), fed)
    assert found["y"].different > 100
