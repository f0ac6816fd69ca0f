"""Clamps and biases of the ONNX Runtime dialect: integer kernels, the same codes."""

from __future__ import annotations

import numpy as np
import pytest

from deployq_exporters.rewrites import clamp_on_codes, int32_bias, widen_containers
from tests.exporters.graphs import giving, operators, parse, rewritten, run

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32) * 2


def layer(body: str, *, kind: str = "int8", zero_point: int = 0, bias: str = "") -> str:
    """Gemm between grids; ``body`` makes ``c`` of its output ``b``."""
    stated = bias or "float[2] bias = {0.3, -0.6}"
    read = "e = DequantizeLinear<axis = 0>(bias, bs, bz)" if bias else "e = Identity(bias)"
    read, operand = (read, "e") if bias else ("", "bias")
    return f"""(float[N,3] x) => (float[N,2] y)
    <float s = {{0.03125}}, uint8 z = {{128}}, float t = {{0.0625}}, {kind} u = {{{zero_point}}},
     int8[2,3] w = {{1, -90, 127, 70, -3, 20}}, float[2] ws = {{0.0078125, 0.015625}},
     int8[2] wz = {{0, 0}}, {stated}, float low = {{-0.4}}, float high = {{2.03}}>
    {{ q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       d = DequantizeLinear<axis = 0>(w, ws, wz)  {read}
       b = Gemm<transB = 1>(a, d, {operand})
       {body}
       r = QuantizeLinear(c, t, u)  y = DequantizeLinear(r, t, u) }}"""


CLAMPS = {
    "relu": "c = Relu(b)",
    "both": "c = Clip(b, low, high)",
    "high": "c = Clip(b, , high)",
    "low": "c = Clip(b, low)",
}


@pytest.mark.parametrize("clamp", CLAMPS)
@pytest.mark.parametrize(("kind", "zero_point"), [("int8", 0), ("uint8", 7), ("int8", -128)])
def test_a_clamp_moves_onto_codes(clamp: str, kind: str, zero_point: int) -> None:
    model = parse(layer(CLAMPS[clamp], kind=kind, zero_point=zero_point))
    after = rewritten(model, int32_bias.RULE, clamp_on_codes.RULE)
    names = operators(after)
    assert "Relu" not in names and names.index("Clip") > names.index("QuantizeLinear", 1)
    np.testing.assert_array_equal(run(after, X), run(model, X))
    np.testing.assert_array_equal(run(after, X, optimised=True), run(model, X))


def test_a_clamp_joins_the_range_of_a_narrow_type() -> None:
    model = parse(layer(CLAMPS["relu"], kind="int4"))
    after = rewritten(model, widen_containers.RULE, int32_bias.RULE, clamp_on_codes.RULE)
    assert operators(after).count("Clip") == 1
    np.testing.assert_array_equal(run(after, X), run(model, X))


@pytest.mark.parametrize("given", ["b", "c"])
def test_a_clamp_between_outputs_stays(given: str) -> None:
    model = giving(parse(layer(CLAMPS["relu"])), given)
    after = rewritten(model, int32_bias.RULE, clamp_on_codes.RULE)
    assert "Relu" in operators(after) and "Clip" not in operators(after)


@pytest.mark.parametrize(
    "body", ["c = Sigmoid(b)", "f = Relu(b)  c = Add(f, b)", "f = Sigmoid(b)  c = Relu(f)"]
)
def test_other_clamps_stay(body: str) -> None:
    model = parse(layer(body))
    after = rewritten(model, int32_bias.RULE, clamp_on_codes.RULE)
    assert operators(after) == operators(rewritten(model, int32_bias.RULE))


STEP = 0.03125 * 0.0078125
NARROW = f"""int16[2] bias = {{300, -150}}, float[2] bs = {{{STEP * 4}, {STEP * 8}}},
int16[2] bz = {{0, 0}}"""


INT32 = NARROW.replace("int16", "int32")


@pytest.mark.parametrize("bias", ["", NARROW, INT32], ids=["reals", "int16", "another scale"])
def test_a_bias_becomes_int32(bias: str) -> None:
    model = parse(layer("c = Relu(b)", bias=bias))
    after = rewritten(model, int32_bias.RULE)
    codes = next(t for t in after.graph.initializer if t.name.endswith(".codes.int32"))
    steps = [1200, -600] if bias else [round(0.3 / STEP), round(-0.6 / STEP / 2)]
    assert np.frombuffer(codes.raw_data, np.int32).tolist() == steps
    np.testing.assert_array_equal(run(after, X), run(model, X))
    fused = rewritten(model, int32_bias.RULE, clamp_on_codes.RULE)
    np.testing.assert_array_equal(run(fused, X, optimised=True), run(model, X))


def test_an_int32_bias_stays() -> None:
    plain = INT32.replace(f"{STEP * 4}, {STEP * 8}", f"{STEP}, {STEP * 2}")
    model = parse(layer("c = Relu(b)", bias=plain))
    assert rewritten(model, int32_bias.RULE) == rewritten(model)


def test_a_bias_that_32_bits_do_not_hold_stays() -> None:
    far = INT32.replace(f"{STEP * 4}, {STEP * 8}", f"{STEP * 2**23}, {STEP * 2**24}")
    model = parse(layer("c = Relu(b)", bias=far))
    assert rewritten(model, int32_bias.RULE) == rewritten(model)
