"""The oracle's FLOAT32 forms against ONNX Runtime's integer kernels: no code may differ.

The graphs are checked to hold the integer kernel; without it the comparison would say nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from deployq.affine import dequantize
from deployq.arithmetic import rational
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.float32 import Float32Array
from deployq.arithmetic.geometry import ConvGeometry, PoolGeometry
from deployq.arithmetic.oracle import concat, elementwise, linear, lookup, pooling
from deployq.arithmetic.oracle.requantize import requantize
from deployq.arithmetic.requant_words import Functions
from deployq.arithmetic.scales import along_axis
from deployq.qparams import FloatArray, IntArray, PerChannel, PerTensor, QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import S8, S32, Draw
from tests.arithmetic.ort_models import (
    VARIANTS,
    Codes,
    QdqModel,
    assert_same,
    run_binary,
    run_unary,
)

PAIRS = [(VARIANTS["u8"], S8), *((codes, codes.qtype) for codes in VARIANTS.values())]
every_type = pytest.mark.parametrize("codes", VARIANTS.values(), ids=VARIANTS)
tie_rich = pytest.mark.parametrize("ties", [False, True], ids=["generic", "ties"])
all_seeds = pytest.mark.parametrize("seed", range(3))


def output_params(qtype: QType, reals: FloatArray, ties: bool) -> QParams:
    """Parameters under which the codes of ``reals`` fill about half of an 8-bit type."""
    scale = np.asarray(reals.std() / 24, np.float32)
    scale = np.exp2(np.rint(np.log2(scale))).astype(np.float32) if ties else scale
    centre = qtype.qmin + 128 - np.rint(reals.mean() / scale)
    return QParams(qtype, scale, np.asarray(np.clip(centre, qtype.qmin, qtype.qmax), np.int64))


def weights(draw: Draw, axis: int, *shape: int) -> tuple[IntArray, QParams]:
    """s8 codes in [-127, 127] with one scale a channel of ``axis``."""
    scale = draw.scale(shape[axis]) / np.float32(64)
    return draw.rng.integers(-127, 128, shape), QParams(S8, scale, granularity=PerChannel(axis))


def bias(draw: Draw, x_scale: FloatArray, w_scale: FloatArray, n: int) -> tuple[IntArray, QParams]:
    """(n,) s32 codes of scale float32(s_x * s_w)."""
    granularity = PerChannel(0) if w_scale.ndim else PerTensor()
    scale = np.asarray(x_scale * w_scale)
    return draw.rng.integers(-3000, 3000, n), QParams(S32, scale, granularity=granularity)


CONVS = {
    "plain": (ConvGeometry(), 5, 7),
    "padded": (ConvGeometry((2, 1), (1, 2, 0, 1), (1, 2)), 8, 6),
    "depthwise": (ConvGeometry(pads=(1, 1, 1, 1), groups=8), 8, 8),
    "grouped": (ConvGeometry((2, 2), (1, 1, 1, 1), groups=2), 6, 4),
}


@every_type
@tie_rich
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("case", CONVS)
def test_conv(case: str, per_channel: bool, ties: bool, codes: Codes, tmp_path: Path) -> None:
    geometry, channels, outputs = CONVS[case]
    draw = Draw(len(case), ties=ties)
    qx, x = draw.params(codes.qtype), draw.codes(codes.qtype, 2, channels, 15, 16)
    w, qw = weights(draw, 0, outputs, channels // geometry.groups, 3, 3)
    qw = qw if per_channel else QParams(S8, np.asarray(qw.scale[0]))
    b, qb = bias(draw, qx.scale, qw.scale, outputs)
    acc = linear.conv_accumulate(x, int(qx.zero_point), w, 0, b, geometry)
    out = output_params(codes.qtype, acc * along_axis(qb.scale, 4, 1), ties)
    model, dilations = QdqModel(), geometry.dilations
    names = [model.activation("x", qx, 4), model.weight("w", w, qw), model.weight("b", b, qb)]
    attributes = {"strides": geometry.strides, "pads": geometry.pads, "group": geometry.groups}
    model.output(model.node("Conv", names, "v", dilations=dilations, **attributes), out, 4)
    found = model.run(
        tmp_path, {"x": dequantize(x, qx)}, "QLinearConv", s8_kernels=codes.s8_kernels
    )
    assert_same(found, requantize(acc, qx.scale, qw.scale, out, codes.form))


@every_type
@tie_rich
@pytest.mark.parametrize("per_channel", [True, False])
def test_gemm(per_channel: bool, ties: bool, codes: Codes, tmp_path: Path) -> None:
    draw = Draw(1, ties=ties)
    qx, x = draw.params(codes.qtype), draw.codes(codes.qtype, 200, 33)
    w, qw = weights(draw, 1, 33, 17)
    qw = qw if per_channel else QParams(S8, np.asarray(qw.scale[0]))
    b, qb = bias(draw, qx.scale, qw.scale, 17)
    acc = linear.gemm_accumulate(x, int(qx.zero_point), w, 0, b)
    out = output_params(codes.qtype, acc * qb.scale, ties)
    model = QdqModel()
    names = [model.activation("x", qx, 2), model.weight("w", w, qw), model.weight("b", b, qb)]
    model.output(model.node("Gemm", names, "v"), out, 2)
    found = model.run(tmp_path, {"x": dequantize(x, qx)}, "QGemm", s8_kernels=codes.s8_kernels)
    assert_same(found, requantize(acc, qx.scale, qw.scale, out, codes.form, channel_axis=-1))


@tie_rich
@pytest.mark.parametrize(("codes", "right"), PAIRS)
def test_matmul(codes: Codes, right: QType, ties: bool, tmp_path: Path) -> None:
    draw = Draw(2, ties=ties)
    qa, qb = draw.params(codes.qtype), draw.params(right)
    a, b = draw.codes(codes.qtype, 3, 40, 33), draw.codes(right, 3, 33, 24)
    acc = linear.matmul_accumulate(a, int(qa.zero_point), b, int(qb.zero_point))
    out = output_params(codes.qtype, acc * (qa.scale * qb.scale), ties)
    found = run_binary("MatMul", [(a, qa), (b, qb)], out, tmp_path, codes)
    assert_same(found, requantize(acc, qa.scale, qb.scale, out, codes.form))


SHAPES = [  # where the first operand has one element a run the library exchanges the two
    ((3, 7, 11, 13), (3, 7, 11, 13)),
    ((4, 16, 20, 20), (16, 1, 1)),
    ((16, 1, 1), (4, 16, 20, 20)),
    ((1,), (4, 16, 20, 20)),
    ((4, 16, 20, 1), (1, 1, 1, 20)),
    ((4, 16, 20, 1), (16, 1, 1)),
]


@every_type
@all_seeds
@pytest.mark.parametrize("ties", ["none", "exact", "near"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_add(
    shapes: tuple[tuple[int, ...], ...], ties: str, seed: int, codes: Codes, tmp_path: Path
) -> None:
    draw = Draw(seed, ties=ties == "exact")
    qa, qb, out = (draw.params(codes.qtype) for _ in range(3))
    if ties == "near":  # rational ratios: ties that float32 does not reach exactly
        ratios = draw.rng.integers(1, 8, 2) / draw.rng.integers(1, 8, 2) * (1, 2)
        qb, out = (draw.params(codes.qtype, float(qa.scale) * ratio) for ratio in ratios)
    a, b = (draw.codes(codes.qtype, *shape) for shape in shapes)
    found = run_binary("Add", [(a, qa), (b, qb)], out, tmp_path, codes)
    np.testing.assert_array_equal(found, elementwise.add(a, qa, b, qb, out, codes.form))


@every_type
@all_seeds
@pytest.mark.parametrize("ties", [False, True])
def test_mul(seed: int, ties: bool, codes: Codes, tmp_path: Path) -> None:
    draw = Draw(seed)
    qa, qb = draw.params(codes.qtype), draw.params(codes.qtype)
    # s_a s_b / s_y is about 1/64, which float32 does not reach exactly: near ties
    out = draw.params(codes.qtype, float(qa.scale * qb.scale) * (64 if ties else 43.7))
    a, b = draw.codes(codes.qtype, 4, 16, 20, 20), draw.codes(codes.qtype, 4, 16, 20, 20)
    found = run_binary("Mul", [(a, qa), (b, qb)], out, tmp_path, codes)
    assert_same(found, elementwise.mul(a, qa, b, qb, out, codes.form))


@every_type
@tie_rich
@all_seeds
def test_concat(seed: int, ties: bool, codes: Codes, tmp_path: Path) -> None:
    draw = Draw(seed, ties=ties)
    qa, qb, out = (draw.params(codes.qtype) for _ in range(3))
    a, b = draw.codes(codes.qtype, 2, 8, 20, 20), draw.codes(codes.qtype, 2, 5, 20, 20)
    found = run_binary("Concat", [(a, qa), (b, qb)], out, tmp_path, codes)
    np.testing.assert_array_equal(found, concat.concat([(a, qa), (b, qb)], out, 1, codes.form))


@every_type
@tie_rich
@all_seeds
@pytest.mark.parametrize("size", [(7, 7), (8, 8)], ids=str)
def test_global_average_pool(
    size: tuple[int, int], seed: int, ties: bool, codes: Codes, tmp_path: Path
) -> None:
    draw = Draw(seed, ties=ties)
    qx, x = draw.params(codes.qtype), draw.codes(codes.qtype, 8, 200, *size)
    out = output_params(codes.qtype, dequantize(x, qx).mean(axis=(2, 3)), ties)
    found = run_unary("GlobalAveragePool", x, qx, out, tmp_path, codes)
    assert_same(found, pooling.global_average_pool(x, qx, out, codes.form))


POOLS = {
    "2x2": PoolGeometry((2, 2), (2, 2)),
    "3x3 padded": PoolGeometry((3, 3), (2, 2), (1, 1, 1, 1)),
    "pads counted": PoolGeometry((3, 3), (2, 2), (1, 0, 1, 2), count_include_pad=True),
    "whole map": PoolGeometry((8, 9)),
    "whole map padded": PoolGeometry((8, 9), (1, 1), (1, 0, 0, 1)),
    "whole map, pads counted": PoolGeometry((8, 9), (2, 2), (1, 1, 1, 1), count_include_pad=True),
}


@every_type
@tie_rich
@all_seeds
@pytest.mark.parametrize("case", POOLS)
def test_average_pool(case: str, seed: int, ties: bool, codes: Codes, tmp_path: Path) -> None:
    geometry, draw = POOLS[case], Draw(seed, ties=ties)
    gain = 4 if "whole" in case else 2  # a power of two times the scale of x: many (near) ties
    middle, shift = codes.qtype.qmin + 128, draw.rng.integers(-6, 7)
    qx = QParams(codes.qtype, draw.scale(), np.asarray(middle + shift))
    out = QParams(codes.qtype, qx.scale / gain, np.asarray(middle + gain * shift))
    x = draw.codes(codes.qtype, 8, 100, 8, 9)
    found = run_unary(
        "AveragePool",
        x,
        qx,
        out,
        tmp_path,
        codes,
        kernel_shape=geometry.kernel,
        strides=geometry.strides,
        pads=geometry.pads,
        count_include_pad=int(geometry.count_include_pad),
    )
    assert_same(found, pooling.average_pool(x, qx, out, codes.form, geometry))


def every_code(qtype: QType) -> IntArray:
    return np.arange(qtype.qmin, qtype.qmax + 1).astype(qtype.dtype).reshape(1, 1, 16, 16)


@every_type
@tie_rich
@all_seeds
def test_leaky_relu(seed: int, ties: bool, codes: Codes, tmp_path: Path) -> None:
    draw, x = Draw(seed, ties=ties), every_code(codes.qtype)
    qx = draw.params(codes.qtype)
    out = draw.params(codes.qtype, float(qx.scale) / 2)
    found = run_unary("LeakyRelu", x, qx, out, tmp_path, codes, alpha=0.125 if ties else 0.1)
    params = lookup.UnaryParams(alpha=0.125 if ties else 0.1)
    table = lookup.lookup_table("LeakyRelu", qx, out, params=params)
    np.testing.assert_array_equal(found, lookup.apply_table(x, codes.qtype, table))


@every_type
@all_seeds
def test_sigmoid(seed: int, codes: Codes, tmp_path: Path) -> None:
    draw, x = Draw(seed), every_code(codes.qtype)
    qx, qtype = draw.params(codes.qtype), codes.qtype
    out = QParams(qtype, np.asarray(1 / 256, np.float32), np.asarray(qtype.qmin))
    found = run_unary("Sigmoid", x, qx, out, tmp_path, codes)
    table = lookup.lookup_table(
        "Sigmoid", qx, out, form=Form(Kind.FLOAT32, functions=Functions.RATIONAL)
    )
    np.testing.assert_array_equal(found, lookup.apply_table(x, codes.qtype, table))


@pytest.mark.parametrize(
    ("operator", "function"), [("Sigmoid", rational.logistic), ("Tanh", rational.tanh)]
)
def test_rational_functions_are_the_library_s_to_the_bit(
    operator: str, function: Callable[[Float32Array], Float32Array]
) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 3, 50_000), rng.uniform(-25, 25, 50_003)]).astype(np.float32)
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n"]) for n in "xy"]
    node = onnx.helper.make_node(operator, ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "one", ends[:1], ends[1:])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(found, function(x))
