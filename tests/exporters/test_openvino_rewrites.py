"""The dialect of OpenVINO: weights around 0, sums apart from convolutions; the same codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch import nn

import deployq
from deployq import affine
from deployq.data import Dataset
from deployq.graph.recipe import Recipe
from deployq.qgraph import read_graph
from deployq.qgraph.edges import output_codes
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.dialects import translate
from deployq_exporters.dialects.openvino import OPENVINO
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.rewrites import (
    join_slices,
    moved_codes,
    open_outputs,
    pad_before_average,
    part_sums,
    signed_weights,
)
from tests.exporters.graphs import giving, operators, parse, rewritten, run
from tests.graph.networks import Net, images, residual_for

Array = npt.NDArray[Any]

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32) * 2
MAPS = np.random.default_rng(1).normal(size=(16, 2, 4, 4)).astype(np.float32)


def layer(kind: str, codes: str, zero: str, extra: str = "") -> str:
    """A Gemm of weights with a zero point for each of two channels."""
    return f"""(float[N,3] x) => (float[N,2] y)
    <float s = {{0.03125}}, uint8 z = {{128}}, {kind}[2,3] w = {{{codes}}},
     float[2] ws = {{0.0078125, 0.015625}}, {kind}[2] wz = {{{zero}}}>
    {{ q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       d = DequantizeLinear<axis = 0>(w, ws, wz)  b = Gemm<transB = 1>(a, d)
       {extra or "y = Identity(b)"} }}"""


READ = "c = Transpose(b)  e = MatMul(c, d)  f = Transpose(e)  y = MatMul(d, f)"
"""The weight is a first operand too."""


@pytest.mark.parametrize(
    ("kind", "codes", "zero", "signed"),
    [
        ("uint8", "1, 255, 128, 90, 3, 130", "128, 100", [-127, 127, 0, -10, -97, 30]),
        ("int8", "1, -90, 100, 70, -3, 20", "5, -7", [-4, -95, 95, 77, 4, 27]),
    ],
)
def test_weights_around_a_zero_point_become_signed(
    kind: str, codes: str, zero: str, signed: list[int]
) -> None:
    model = parse(layer(kind, codes, zero))
    after = rewritten(model, signed_weights.RULE)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in after.graph.initializer}
    weight, zero_point = (n.input for n in after.graph.node if n.op_type == "DequantizeLinear")
    assert len(weight) == 3 == len(zero_point)
    moved = [a for name, a in stored.items() if name.endswith(".signed")]
    assert [a.dtype for a in moved] == [np.int8, np.int8]
    assert moved[0].ravel().tolist() == signed and not moved[1].any()
    np.testing.assert_array_equal(run(after, X), run(model, X))


@pytest.mark.parametrize(
    "model",
    [
        layer("int8", "1, -90, 100, 70, -3, 20", "0, 0"),
        layer("uint8", "1, 255, 128, 90, 3, 130", "100, 128"),  # 255 - 100
        layer("uint8", "1, 255, 128, 90, 3, 130", "128, 128", READ).replace("[N,", "[2,"),
    ],
    ids=["at 0 already", "8 bits do not hold it", "not a weight alone"],
)  # fmt: skip
def test_other_weights_stay(model: str) -> None:
    parsed = parse(model)
    assert rewritten(parsed, signed_weights.RULE) == rewritten(parsed)


def summed(body: str) -> str:
    """A quantized Conv ``c``; ``body`` makes ``y`` of it and of the input ``a``."""
    weight = ",".join(str(v) for v in np.random.default_rng(2).integers(-127, 128, 36))
    return f"""(float[N,2,4,4] x) => (uint8[N,2,4,4] y)
    <float s = {{0.0313}}, uint8 z = {{110}}, float t = {{0.0471}}, uint8 u = {{120}},
     int8[2,2,3,3] w = {{{weight}}}, float ws = {{0.0051}}, int8 wz = {{0}}>
    {{ q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       d = DequantizeLinear(w, ws, wz)  c = Conv<pads = [1,1,1,1]>(a, d) {body}
       y = QuantizeLinear(e, s, z) }}"""


ROUNDED = "p = QuantizeLinear(c, t, u)  g = DequantizeLinear(p, t, u)"
PARTED = {
    "one": f"{ROUNDED} e = Add(g, a)",
    "clamped": f"{ROUNDED.replace('p = Q', 'r = Relu(c) p = Q').replace('(c, t', '(r, t')} "
    "k = Add(a, g) e = Relu(k)",
}
WHOLE = {
    "no sum": f"{ROUNDED} e = Mul(g, a)",
    "not rounded": "e = Add(c, a)",
    "joins another": f"{ROUNDED} m = Conv<pads = [1,1,1,1]>(a, d) e = Add(g, m)",
    "two readers of the reals": f"{ROUNDED} k = Add(g, a) e = Mul(k, g)",
    "two readers of the codes": f"{ROUNDED} h = DequantizeLinear(p, t, u) k = Add(g, a) "
    "e = Mul(k, h)",
    "not of a convolution": "m = MaxPool<kernel_shape = [1,1]>(a) p = QuantizeLinear(m, t, u) "
    "g = DequantizeLinear(p, t, u) e = Add(g, a)",
}


@pytest.mark.parametrize("case", PARTED)
def test_a_sum_is_parted_from_its_convolution(case: str) -> None:
    model = parse(summed(PARTED[case]))
    after = rewritten(model, part_sums.RULE)
    assert operators(after).count("MaxPool") == 1
    np.testing.assert_array_equal(run(after, MAPS), run(model, MAPS))


@pytest.mark.parametrize("case", WHOLE)
def test_other_sums_stay(case: str) -> None:
    model = parse(summed(WHOLE[case]))
    assert operators(rewritten(model, part_sums.RULE)) == operators(model)


NETWORKS = [
    *((target, None) for target in ("openvino-cpu", "int4-npu", "int8-npu", "lowbit-vlsi")),
    ("lowbit-vlsi", 4),
]


def on_its_grid(model: onnx.ModelProto, reals: Array) -> Array:
    """Reals of the dialect's output, on the grid that the canonical file states."""
    graph = read_graph(model)
    return affine.fake_quantize(reals, graph.qparams[output_codes(graph)[0]])


@pytest.mark.parametrize(("target", "bits"), NETWORKS)
def test_a_network_keeps_its_codes(target: str, bits: int | None) -> None:
    prepared = residual_for(target, Recipe(activation_bits=bits))
    model = to_proto(lower(prepared, prepared.profile))
    after = translate(model, OPENVINO)
    kinds = {t.data_type for t in after.graph.initializer}
    assert not kinds & {onnx.TensorProto.INT4, onnx.TensorProto.UINT4}
    x = images(32, seed=9).numpy()
    np.testing.assert_array_equal(on_its_grid(model, run(after, x)), run(model, x))


def sliced(second: str, between: str = "s, z", body: str = "y = Identity(g)") -> str:
    """Rows 0 and 2, then columns of axis ``second``, with codes between."""
    return f"""(float[N,2,4,4] x) => (float[N,2,R,M] y)
    <float s = {{0.0313}}, uint8 z = {{110}}, float t = {{0.05}}, int64[1] lo = {{0}},
     int64[1] hi = {{9}}, int64[1] rows = {{2}}, int64[1] other = {{{second}}}, int64[1] by = {{2}}>
    {{ q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)  b = Slice(a, lo, hi, rows, by)
       c = QuantizeLinear(b, {between})  d = DequantizeLinear(c, {between})
       e = Slice(d, lo, hi, other, by)  f = QuantizeLinear(e, s, z)  g = DequantizeLinear(f, s, z)
       {body} }}"""


def test_slices_along_two_axes_are_one() -> None:
    model = parse(sliced("3"))
    after = rewritten(model, join_slices.RULE)
    assert operators(after).count("Slice") == 1 and operators(after).count("QuantizeLinear") == 2
    np.testing.assert_array_equal(run(after, MAPS), run(model, MAPS))


@pytest.mark.parametrize(
    "model",
    [
        sliced("2"),
        sliced("-1"),  # axis 2 or 3, by a rank that the rule does not ask for
        sliced("3", "t, z"),
        sliced("3", body="h = Slice(d, lo, hi, other, by)  y = Add(g, h)"),
    ],
    ids=["the same axis", "an axis from behind", "another grid", "read twice"],
)
def test_other_slices_stay(model: str) -> None:
    parsed = parse(model)
    assert rewritten(parsed, join_slices.RULE) == rewritten(parsed)


@pytest.mark.parametrize("given", ["b", "c", "d"])
def test_a_first_slice_that_is_an_output_stays(given: str) -> None:
    model = giving(parse(sliced("3")), given)
    assert operators(rewritten(model, join_slices.RULE)) == operators(model)


def moved(second: str = "s, z") -> str:
    """A Transpose and a Reshape with codes between them; the second pair has its own grid."""
    return f"""(float[N,2,4,4] x) => (float[N,4,8] y)
    <float s = {{0.0313}}, uint8 z = {{110}}, float t = {{0.05}}, int64[3] to = {{0, 4, 8}}>
    {{ q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       b = Transpose<perm = [0,2,1,3]>(a)
       c = QuantizeLinear(b, {second})  d = DequantizeLinear(c, {second})
       e = Reshape(d, to)  f = QuantizeLinear(e, s, z)  g = DequantizeLinear(f, s, z)
       h = Relu(g)  i = QuantizeLinear(h, s, z)  y = DequantizeLinear(i, s, z) }}"""


def test_codes_that_were_only_moved_stay() -> None:
    model = parse(moved())
    after = rewritten(model, moved_codes.RULE)
    assert operators(after) == [
        "QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape", "Relu", "QuantizeLinear",
        "DequantizeLinear",
    ]  # fmt: skip
    np.testing.assert_array_equal(run(after, MAPS), run(model, MAPS))


def test_codes_on_another_grid_are_quantized_again() -> None:
    model = parse(moved("t, z"))
    assert rewritten(model, moved_codes.RULE) == rewritten(model)


@pytest.mark.parametrize(("given", "left"), [("c", 3), ("d", 3), ("f", 3), ("b", 2)])
def test_moved_codes_that_are_an_output_stay(given: str, left: int) -> None:
    model = giving(parse(moved()), given)
    after = rewritten(model, moved_codes.RULE)
    assert operators(after).count("QuantizeLinear") == left
    np.testing.assert_array_equal(run(after, MAPS), run(model, MAPS))


def averaged(words: str, made: str = "a = DequantizeLinear(q, s, z)") -> str:
    """A mean over windows of codes whose zero point is 110; ``words`` are its attributes."""
    return f"""(float[N,2,4,4] x) => (uint8[N,2,R,M] y)
    <float s = {{0.0313}}, uint8 z = {{110}}>
    {{ q = QuantizeLinear(x, s, z)  {made}
       e = AveragePool<kernel_shape = [3,3], {words}>(a)  y = QuantizeLinear(e, s, z) }}"""


COUNTED = averaged("pads = [1,0,1,2], strides = [2,1], count_include_pad = 1")


def test_counted_padding_stands_before_its_average() -> None:
    model = parse(COUNTED)
    after = rewritten(model, pad_before_average.RULE)
    assert operators(after) == [
        "QuantizeLinear", "Pad", "DequantizeLinear", "AveragePool", "QuantizeLinear",
    ]  # fmt: skip
    np.testing.assert_array_equal(run(after, MAPS), run(model, MAPS))


def test_reals_that_are_an_output_stay_beside_padded_codes() -> None:
    model = giving(parse(COUNTED), "a")
    after = rewritten(model, pad_before_average.RULE)
    assert operators(after).count("DequantizeLinear") == 2
    np.testing.assert_array_equal(run(after, MAPS), run(model, MAPS))


@pytest.mark.parametrize(
    "model",
    [
        averaged("pads = [1,1,1,1]"),
        averaged("pads = [0,0,0,0], count_include_pad = 1"),
        averaged("pads = [1,1,1,1], count_include_pad = 1", "a = Identity(x)"),
    ],
    ids=["not counted", "none", "of reals"],
)
def test_other_averages_stay(model: str) -> None:
    assert operators(rewritten(parse(model), pad_before_average.RULE)) == operators(parse(model))


def ended(layer: str, body: str, more: str = "") -> str:
    """A layer on codes of ``x`` whose result is ``b``; ``body`` makes ``y`` of it."""
    return f"""(float[N,3] x) => (float[N,M] y{more})
    <float s = {{0.03125}}, uint8 z = {{128}}, float t = {{0.0471}}, uint8 u = {{120}},
     int8[3,2] w = {{9, -90, 100, 70, -3, 20}}, float ws = {{0.0078125}}, int8 wz = {{0}},
     float[2] bias = {{0.5, -0.25}}, float lo = {{-1}}, float hi = {{1}}>
    {{ q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       d = DequantizeLinear(w, ws, wz)  {layer} {body} }}"""


GEMM, PAIR = "b = Gemm(a, d, bias)", "p = QuantizeLinear(b, t, u)  y = DequantizeLinear(p, t, u)"
BIASED = "m = MatMul(a, d)  b = Add(m, bias)"


@pytest.mark.parametrize("layer", [GEMM, "b = MatMul(a, d)", BIASED])
def test_an_output_of_a_layer_is_left_in_reals(layer: str) -> None:
    model = parse(ended(layer, PAIR))
    after = rewritten(model, open_outputs.RULE)
    assert operators(after) == [*operators(model)[:-2], "Clip"]
    assert [o.name for o in after.graph.output] == ["y"]
    np.testing.assert_array_equal(on_its_grid(model, run(after, X)), run(model, X))


@pytest.mark.parametrize("clamp", [nn.ReLU(), nn.Hardtanh(0.0, 0.5)])
def test_a_clamp_that_the_grid_made_redundant_holds_in_reals(clamp: nn.Module) -> None:
    network = Net(lambda m, x: m.clamp(m.head(x)), head=nn.Linear(3, 2), clamp=clamp).eval()
    prepared = deployq.prepare(network, [torch.zeros(2, 3)], "openvino-cpu")
    deployq.calibrate(prepared, Dataset({"x": X}), CalibrationSettings(corrections=()))
    model = to_proto(lower(prepared, prepared.profile))
    assert not {"Relu", "Clip"} & set(operators(model))
    before, after = run(model, X), run(translate(model, OPENVINO), 4 * X)
    assert (after.min(), after.max()) == (before.min(), before.max())
    assert (after != on_its_grid(model, after)).any()


@pytest.mark.parametrize(
    "model",
    [
        ended(GEMM, PAIR.replace("(b", "(c").replace("p =", "c = Relu(b) p =")),
        ended(GEMM, PAIR.replace("(b", "(c").replace("p =", "c = Clip(b, lo, hi) p =")),
        ended("m = MatMul(a, d)  b = Add(m, m)", PAIR),
        ended(GEMM, PAIR.replace("y =", "k =") + " y = Identity(k)"),
        ended(GEMM, PAIR + " e = Relu(y)", ", float[N,2] e"),
        ended(GEMM, PAIR + " e = Relu(b)", ", float[N,2] e"),
        ended(GEMM, PAIR + " e = Identity(p)", ", uint8[N,2] e"),
        ended("m = MatMul(a, d)  b = Identity(m)", PAIR),
        ended(GEMM, PAIR.replace("t, u)", "t)")),
    ],
    ids=["behind a Relu", "behind a range", "a sum of activations", "not the output",
         "an output that is read", "reals that are read", "codes that are read",
         "of another operator", "without a zero point"],
)  # fmt: skip
def test_other_outputs_are_rounded(model: str) -> None:
    assert operators(rewritten(parse(model), open_outputs.RULE)) == operators(parse(model))
