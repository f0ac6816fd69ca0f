"""The oracle's FLOAT32 forms against ONNX Runtime's integer kernels: no code may differ.

The graphs are checked to hold the integer kernel; without it the comparison would say nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deployq.affine import dequantize
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.geometry import ConvGeometry, PoolGeometry
from deployq.arithmetic.oracle import concat, elementwise, linear, lookup, pooling
from deployq.arithmetic.oracle.requantize import requantize
from deployq.qparams import FloatArray, IntArray, PerChannel, PerTensor, QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import EXACT, FLOAT32, S8, S32, U8, Draw
from tests.arithmetic.ort_models import QdqModel

both_signs = pytest.mark.parametrize("qtype", [U8, S8], ids=["u8", "s8"])
tie_rich = pytest.mark.parametrize("ties", [False, True], ids=["generic", "ties"])
all_settings = pytest.mark.parametrize("seed", range(3))


def weights(draw: Draw, axis: int, *shape: int) -> tuple[IntArray, QParams]:
    """s8 codes in [-127, 127] with one scale a channel of ``axis``."""
    scale = draw.scale(shape[axis]) / np.float32(64)
    return draw.rng.integers(-127, 128, shape), QParams(S8, scale, granularity=PerChannel(axis))


def bias(draw: Draw, x_scale: FloatArray, w_scale: FloatArray) -> tuple[IntArray, QParams]:
    """s32 codes of scale float32(s_x * s_w)."""
    codes = draw.rng.integers(-3000, 3000, w_scale.shape)
    granularity = PerChannel(0) if w_scale.ndim else PerTensor()
    return codes, QParams(S32, np.asarray(x_scale * w_scale), granularity=granularity)


def assert_same(found: IntArray, expected: IntArray) -> None:
    """Equal codes, many of them distinct: a saturated output would prove nothing."""
    assert len(np.unique(expected)) >= 32
    np.testing.assert_array_equal(found, expected)


CONVS = {
    "plain": (ConvGeometry(), 5, 7),
    "padded": (ConvGeometry((2, 1), (1, 2, 0, 1), (1, 2)), 8, 6),
    "depthwise": (ConvGeometry(pads=(1, 1, 1, 1), groups=8), 8, 8),
    "grouped": (ConvGeometry((2, 2), (1, 1, 1, 1), groups=2), 6, 4),
}


@both_signs
@tie_rich
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("case", CONVS)
def test_conv(case: str, per_channel: bool, ties: bool, qtype: QType, tmp_path: Path) -> None:
    geometry, channels, outputs = CONVS[case]
    draw = Draw(len(case), ties=ties)
    qx, out, x = draw.params(qtype), draw.params(qtype, 1.0), draw.codes(qtype, 2, channels, 15, 16)
    w, qw = weights(draw, 0, outputs, channels // geometry.groups, 3, 3)
    qw = qw if per_channel else QParams(S8, qw.scale[0])
    b, qb = bias(draw, qx.scale, qw.scale)
    model = QdqModel()
    names = [model.activation("x", qx, 4), model.weight("w", w, qw), model.weight("b", b, qb)]
    attributes = {"strides": geometry.strides, "pads": geometry.pads, "group": geometry.groups}
    model.output(model.node("Conv", names, "v", dilations=geometry.dilations, **attributes), out, 4)
    found = model.run(tmp_path, {"x": dequantize(x, qx)}, "QLinearConv")
    acc = linear.conv_accumulate(x, int(qx.zero_point), w, 0, np.broadcast_to(b, outputs), geometry)
    assert_same(found, requantize(acc, qx.scale[()], qw.scale, out, FLOAT32))


@both_signs
@tie_rich
@pytest.mark.parametrize("per_channel", [True, False])
def test_gemm(per_channel: bool, ties: bool, qtype: QType, tmp_path: Path) -> None:
    draw = Draw(1, ties=ties)
    qx, out, x = draw.params(qtype), draw.params(qtype, 0.5), draw.codes(qtype, 200, 33)
    w, qw = weights(draw, 1, 33, 17)
    qw = qw if per_channel else QParams(S8, qw.scale[0])
    b, qb = bias(draw, qx.scale, np.broadcast_to(qw.scale, 17))
    qb = qb if per_channel else QParams(S32, qb.scale[0])
    model = QdqModel()
    names = [model.activation("x", qx, 2), model.weight("w", w, qw), model.weight("b", b, qb)]
    model.output(model.node("Gemm", names, "v"), out, 2)
    found = model.run(tmp_path, {"x": dequantize(x, qx)}, "QGemm")
    acc = linear.gemm_accumulate(x, int(qx.zero_point), w, 0, b)
    expected = requantize(acc, qx.scale[()], qw.scale, out, FLOAT32, channel_axis=-1)
    assert_same(found, expected)


@tie_rich
@pytest.mark.parametrize("right", [U8, S8], ids=["u8", "s8"])
def test_matmul(right: QType, ties: bool, tmp_path: Path) -> None:
    draw = Draw(2, ties=ties)
    qa, qb, out = draw.params(U8, 0.25), draw.params(right, 0.125), draw.params(U8, 64.0)
    a, b = draw.codes(U8, 3, 40, 33), draw.codes(right, 3, 33, 24)
    model = QdqModel()
    names = [model.activation("a", qa, 3), model.activation("b", qb, 3)]
    model.output(model.node("MatMul", names, "v"), out, 3)
    reals = {"a": dequantize(a, qa), "b": dequantize(b, qb)}
    found = model.run(tmp_path, reals, "QLinearMatMul")
    acc = linear.matmul_accumulate(a, int(qa.zero_point), b, int(qb.zero_point))
    assert_same(found, requantize(acc, qa.scale[()], qb.scale, out, FLOAT32))


def run_binary(
    operator: str, operands: list[tuple[IntArray, QParams]], out: QParams, folder: Path, fused: str
) -> IntArray:
    """Codes of a two-input operator in ONNX Runtime; Concat joins channels."""
    model, reals, names = QdqModel(), {}, []
    for name, (codes, qparams) in zip("ab", operands, strict=True):
        names.append(model.activation(name, qparams, codes.ndim))
        reals[name] = dequantize(codes, qparams)
    attributes = {"axis": 1} if operator == "Concat" else {}
    model.output(model.node(operator, names, "v", **attributes), out, 4)
    return model.run(folder, reals, fused)


@both_signs
@tie_rich
@all_settings
@pytest.mark.parametrize("shape", [(4, 16, 20, 20), (16, 1, 1), (1,)], ids=str)
def test_add(
    shape: tuple[int, ...], seed: int, ties: bool, qtype: QType, tmp_path: Path
) -> None:
    draw = Draw(seed, ties=ties)
    (qa, qb), out = (draw.params(qtype) for _ in range(2)), draw.params(qtype)
    a, b = draw.codes(qtype, 4, 16, 20, 20), draw.codes(qtype, *shape)
    found = run_binary("Add", [(a, qa), (b, qb)], out, tmp_path, "QLinearAdd")
    np.testing.assert_array_equal(found, elementwise.add(a, qa, b, qb, out, FLOAT32))


@both_signs
@tie_rich
@all_settings
def test_mul(seed: int, ties: bool, qtype: QType, tmp_path: Path) -> None:
    draw = Draw(seed, ties=ties)
    qa, qb, out = draw.params(qtype), draw.params(qtype), draw.params(qtype, 16.0)
    a, b = draw.codes(qtype, 4, 16, 20, 20), draw.codes(qtype, 4, 16, 20, 20)
    found = run_binary("Mul", [(a, qa), (b, qb)], out, tmp_path, "QLinearMul")
    assert_same(found, elementwise.mul(a, qa, b, qb, out, FLOAT32))


@both_signs
@tie_rich
@all_settings
def test_concat(seed: int, ties: bool, qtype: QType, tmp_path: Path) -> None:
    draw = Draw(seed, ties=ties)
    qa, qb, out = draw.params(qtype), draw.params(qtype), draw.params(qtype)
    a, b = draw.codes(qtype, 2, 8, 20, 20), draw.codes(qtype, 2, 5, 20, 20)
    found = run_binary("Concat", [(a, qa), (b, qb)], out, tmp_path, "QLinearConcat")
    np.testing.assert_array_equal(found, concat.concat([(a, qa), (b, qb)], out, 1, FLOAT32))


def run_unary(
    operator: str, x: IntArray, qx: QParams, out: QParams, folder: Path, **attributes: object
) -> IntArray:
    model = QdqModel()
    model.output(model.node(operator, [model.activation("x", qx, 4)], "v", **attributes), out, 4)
    return model.run(folder, {"x": dequantize(x, qx)}, f"QLinear{operator}")


@both_signs
@tie_rich
@all_settings
@pytest.mark.parametrize("size", [(7, 7), (8, 9)], ids=str)
def test_global_average_pool(
    size: tuple[int, int], seed: int, ties: bool, qtype: QType, tmp_path: Path
) -> None:
    draw = Draw(seed, ties=ties)
    qx, x = draw.params(qtype), draw.codes(qtype, 8, 200, *size)
    out = draw.params(qtype, float(qx.scale) / 4)
    found = run_unary("GlobalAveragePool", x, qx, out, tmp_path)
    assert_same(found, pooling.global_average_pool(x, qx, out, FLOAT32))


POOLS = {
    "2x2": PoolGeometry((2, 2), (2, 2)),
    "3x3 padded": PoolGeometry((3, 3), (2, 2), (1, 1, 1, 1)),
    "pads counted": PoolGeometry((3, 3), (2, 2), (1, 0, 1, 2), count_include_pad=True),
    "whole map": PoolGeometry((8, 9)),
    "whole map padded": PoolGeometry((8, 9), (1, 1), (1, 0, 0, 1)),
    "whole map, pads counted": PoolGeometry((8, 9), (2, 2), (1, 1, 1, 1), count_include_pad=True),
}


@both_signs
@tie_rich
@pytest.mark.parametrize("case", POOLS)
def test_average_pool(case: str, ties: bool, qtype: QType, tmp_path: Path) -> None:
    geometry, draw = POOLS[case], Draw(len(case), ties=ties)
    qx, x = draw.params(qtype), draw.codes(qtype, 8, 100, 8, 9)
    out = draw.params(qtype, float(qx.scale) / 2)
    attributes = {"kernel_shape": geometry.kernel, "strides": geometry.strides}
    counted = int(geometry.count_include_pad)
    found = run_unary(
        "AveragePool", x, qx, out, tmp_path, pads=geometry.pads, count_include_pad=counted,
        **attributes,
    )
    assert_same(found, pooling.average_pool(x, qx, out, FLOAT32, geometry))


def every_code(qtype: QType) -> IntArray:
    return np.arange(qtype.qmin, qtype.qmax + 1).astype(qtype.dtype).reshape(1, 1, 16, 16)


@both_signs
@tie_rich
@all_settings
def test_leaky_relu(seed: int, ties: bool, qtype: QType, tmp_path: Path) -> None:
    draw, x = Draw(seed, ties=ties), every_code(qtype)
    qx = draw.params(qtype)
    out = draw.params(qtype, float(qx.scale) / 2)
    found = run_unary("LeakyRelu", x, qx, out, tmp_path, alpha=0.125 if ties else 0.1)
    params = lookup.UnaryParams(alpha=0.125 if ties else 0.1)
    table = lookup.lookup_table("LeakyRelu", qx, out, params=params)
    np.testing.assert_array_equal(found, lookup.apply_table(x, qtype, table))


@both_signs
@all_settings
def test_sigmoid_is_within_one_code(seed: int, qtype: QType, tmp_path: Path) -> None:
    # the library's sigmoid is a rational approximation: near a tie it may fall on the other side
    draw, x = Draw(seed), every_code(qtype)
    qx, out = draw.params(qtype), QParams(qtype, np.asarray(1 / 256, np.float32), np.asarray(qtype.qmin))
    found = run_unary("Sigmoid", x, qx, out, tmp_path).astype(int)
    table = lookup.lookup_table("Sigmoid", qx, out)
    apart = np.abs(found - lookup.apply_table(x, qtype, table))
    assert apart.max() <= 1 and np.count_nonzero(apart) <= 2


def test_the_add_formula_is_not_the_exact_one(tmp_path: Path) -> None:
    # guards the tests above: where forms differ they must be able to see it
    qx = QParams(U8, np.asarray(1 / 32, np.float32), np.asarray(7))
    out, draw = QParams(U8, np.asarray(1 / 16, np.float32), np.asarray(9)), Draw(0)
    a, b = draw.codes(U8, 1, 8, 20, 20), draw.codes(U8, 1, 8, 20, 20)
    found = run_binary("Add", [(a, qx), (b, qx)], out, tmp_path, "QLinearAdd")
    np.testing.assert_array_equal(found, elementwise.add(a, qx, b, qx, out, Form(Kind.FLOAT32)))
    assert np.mean(found != elementwise.add(a, qx, b, qx, out, EXACT)) > 0.1
