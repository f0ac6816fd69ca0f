"""Biases in reals and wide weights of the TensorRT dialect: the same codes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deployq_exporters.dialects import translate
from deployq_exporters.dialects.tensorrt import TENSORRT
from deployq_exporters.rewrites import float_bias, widen_weights
from tests.exporters.graphs import narrowed, operators, parse, rewritten, run

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32) * 2
WEIGHTS = "{1, -7, 7, 5, -3, 2}"


def layer(product: str, *, x: str = "a", bias: str = "int32") -> str:
    """A product of ``x`` and ``d`` with the bias ``e``, between grids."""
    return f"""(float[N,3] x) => (float[N,2] y)
    <float s = {{0.03125}}, int8 z = {{0}}, float t = {{0.0625}}, int8 u = {{0}},
     int8[2,3] w = {WEIGHTS}, float[2] ws = {{0.0078125, 0.013}}, int8[2] wz = {{0, 0}},
     int8[3,2] v = {WEIGHTS},
     {bias}[2] bias = {{120, -77}}, float[2] bs = {{0.00024414, 0.00040625}},
     {bias}[2] bz = {{0, 0}}>
    {{ q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       e = DequantizeLinear<axis = 0>(bias, bs, bz)
       {product.replace("X", x)}
       r = QuantizeLinear(b, t, u)  y = DequantizeLinear(r, t, u) }}"""


GEMM = "d = DequantizeLinear<axis = 0>(w, ws, wz)  b = Gemm<transB = 1>(X, d, e)"
MATMUL = "d = DequantizeLinear<axis = 1>(v, ws, wz)  c = MatMul(X, d)  b = Add(c, e)"


def types(model: onnx.ModelProto) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


@pytest.mark.parametrize("product", [GEMM, MATMUL], ids=["Gemm", "MatMul and Add"])
@pytest.mark.parametrize("bias", ["int32", "int16", "int8"])
def test_a_bias_becomes_the_reals_of_its_codes(product: str, bias: str) -> None:
    model = parse(layer(product, bias=bias))
    after = rewritten(model, float_bias.RULE)
    reals = next(t for t in after.graph.initializer if t.name.endswith(".reals"))
    codes, scale = np.array([120, -77]), np.array([0.00024414, 0.00040625], np.float32)
    np.testing.assert_array_equal(numpy_helper.to_array(reals), codes.astype(np.float32) * scale)
    assert operators(after).count("DequantizeLinear") == 3
    np.testing.assert_array_equal(run(after, X), run(model, X))


def test_codes_that_are_no_bias_stay() -> None:
    model = parse(layer(f"{GEMM.replace('b =', 'c =')}  b = Mul(c, e)".replace("d, e", "d")))
    assert rewritten(model, float_bias.RULE) == rewritten(model)


INT4, INT2, INT8 = onnx.TensorProto.INT4, onnx.TensorProto.INT2, onnx.TensorProto.INT8


@pytest.mark.parametrize(("product", "weight"), [(GEMM, "w"), (MATMUL, "v")])
def test_narrow_weights_beside_codes_move_into_bytes(product: str, weight: str) -> None:
    plain = parse(layer(product))
    model = narrowed(plain, (weight, "wz"), INT4)
    after = rewritten(model, widen_weights.RULE)
    assert [types(model)[name] for name in (weight, "wz")] == [INT4, INT4]
    assert [types(after)[name] for name in (weight, "wz")] == [INT8, INT8]
    np.testing.assert_array_equal(run(after, X), run(model, X))
    np.testing.assert_array_equal(run(after, X), run(plain, X))


@pytest.mark.parametrize(("element", "after"), [(INT4, INT4), (INT2, INT8)])
def test_weights_beside_reals_stay_where_the_parser_takes_them(element: int, after: int) -> None:
    plain = parse(layer(MATMUL, x="x").replace(WEIGHTS, "{1, -2, 1, 0, -1, -2}"))
    plain.ir_version, plain.opset_import[0].version = 13, 25
    model = narrowed(plain, ("v", "wz"), element)
    assert types(rewritten(model, widen_weights.RULE))["v"] == after


def test_the_dialect_leaves_neither_wide_biases_nor_unread_tensors() -> None:
    model = narrowed(parse(layer(GEMM)), ("w", "wz"), INT4)
    after = translate(model, TENSORRT)
    assert set(types(after).values()) == {onnx.TensorProto.FLOAT, INT8}
    assert "bs" not in types(after)
    np.testing.assert_array_equal(run(after, X), run(model, X))
