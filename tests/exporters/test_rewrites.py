"""Rewrites on ONNX: what they change, what they leave, and that outputs stay equal."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from deployq.errors import UnsupportedError
from deployq_exporters.dialects import DIALECTS, translate
from deployq_exporters.rewrites import (
    keep_float,
    mean_to_global_pool,
    pad_on_codes,
    reshape_to_flatten,
    resize_to_gather,
    unsigned_activations,
    widen_containers,
)
from tests.exporters.graphs import giving, operators, parse, rewritten, run

X = np.linspace(-2, 2, 2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)


def quantized(body: str, *, kind: str = "int8", zero_point: int = 3, shape: str = "N,3,4,4") -> str:
    """x -> Q -> DQ -> body(a) -> b -> Q -> DQ -> y; both tensors have parameters of their own."""
    return f"""(float[N,3,4,4] x) => (float[{shape}] y)
    <float s = {{0.1}}, {kind} z = {{{zero_point}}}, float t = {{0.1}}, {kind} w = {{{zero_point}}},
     int64[8] pads = {{0,1,0,0,0,1,0,0}},
     float two = {{2.0}}, int64[2] cells = {{7, 3}}, float[4] doubled = {{1.0, 1.0, 2.0, 2.0}}>
    {{ q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       {body}
       r = QuantizeLinear(b, t, w)  y = DequantizeLinear(r, t, w) }}"""


def test_pad_moves_onto_codes() -> None:
    model = parse(quantized("b = Pad(a, pads)", shape="N,5,4,4"))
    after = rewritten(model, pad_on_codes.RULE)
    assert operators(after) == ["QuantizeLinear", "Pad", "DequantizeLinear"]
    np.testing.assert_array_equal(run(after, X), run(model, X))


def test_reals_that_are_an_output_stay_beside_padded_codes() -> None:
    model = giving(parse(quantized("b = Pad(a, pads)", shape="N,5,4,4")), "a")
    after = rewritten(model, pad_on_codes.RULE)
    assert operators(after).count("DequantizeLinear") == 2
    np.testing.assert_array_equal(run(after, X), run(model, X))


def test_a_pad_that_is_an_output_stays() -> None:
    model = giving(parse(quantized("b = Pad(a, pads)", shape="N,5,4,4")), "b")
    assert operators(rewritten(model, pad_on_codes.RULE)) == operators(model)


@pytest.mark.parametrize(
    "body",
    ["b = Pad(a, pads, two)", "c = Pad(a, pads)  b = Relu(c)"],
    ids=["stated value", "float user"],
)
def test_pad_of_anything_else_stays(body: str) -> None:
    model = parse(quantized(body, shape="N,5,4,4"))
    assert operators(rewritten(model, pad_on_codes.RULE)) == operators(model)


def test_pad_of_16_bit_codes_stays() -> None:
    """ONNX Runtime pads no such codes: the file would not load."""
    model = parse(quantized("b = Pad(a, pads)", kind="int16", shape="N,5,4,4"))
    assert operators(rewritten(model, pad_on_codes.RULE)) == operators(model)
    assert run(model, X).shape == (2, 5, 4, 4)


def test_pad_between_two_grids_stays() -> None:
    text = quantized("b = Pad(a, pads)", shape="N,5,4,4").replace("(b, t, w)", "(b, two, w)")
    assert "Pad" in operators(rewritten(parse(text), pad_on_codes.RULE))
    assert operators(rewritten(parse(text), pad_on_codes.RULE)).count("QuantizeLinear") == 2


NEAREST = """b = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric",
    nearest_mode = "floor"%s>
        (a, , %s)"""


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16"])
def test_a_resize_to_any_size_picks_codes(kind: str) -> None:
    model = parse(quantized(NEAREST % (", axes = [2, 3]", ", cells"), kind=kind, shape="N,3,7,3"))
    after = rewritten(model, resize_to_gather.RULE)
    assert operators(after) == ["QuantizeLinear", "Gather", "Gather", "DequantizeLinear"]
    np.testing.assert_array_equal(run(after, X), run(model, X))
    np.testing.assert_array_equal(run(after, X, optimised=True), run(model, X))


def test_a_resize_by_factors_stays() -> None:
    model = parse(quantized(NEAREST % ("", "doubled"), shape="N,3,8,8"))
    assert operators(rewritten(model, resize_to_gather.RULE)) == operators(model)


@pytest.mark.parametrize(("kind", "zero_point"), [("int4", -8), ("uint4", 2), ("int4", 3)])
def test_narrow_activations_saturate_on_codes(kind: str, zero_point: int) -> None:
    model = parse(quantized("b = Identity(a)", kind=kind, zero_point=zero_point))
    after = rewritten(model, widen_containers.RULE)
    assert operators(after).count("Clip") == 2
    types = {t.data_type for t in after.graph.initializer if t.name == "z"}
    wide = onnx.TensorProto.INT8 if kind == "int4" else onnx.TensorProto.UINT8
    assert types == {wide}
    np.testing.assert_array_equal(run(after, X), run(model, X))


def test_moved_narrow_codes_are_not_saturated_again() -> None:
    model = parse(quantized("b = MaxPool<kernel_shape = [1, 1]>(a)", kind="uint4", zero_point=0))
    after = rewritten(model, widen_containers.RULE)
    assert operators(after).count("Clip") == 1
    np.testing.assert_array_equal(run(after, X), run(model, X))


def test_eight_bits_are_wide_enough() -> None:
    model = parse(quantized("b = Relu(a)"))
    assert operators(rewritten(model, widen_containers.RULE)) == operators(model)


def test_signed_activations_become_unsigned_with_the_same_reals() -> None:
    model = parse(quantized("b = Relu(a)", zero_point=-128))
    after = rewritten(model, unsigned_activations.RULE)
    (zero_point,) = [
        onnx.numpy_helper.to_array(t) for t in after.graph.initializer if t.name == "z"
    ]
    assert zero_point.dtype == np.uint8 and zero_point == 0
    np.testing.assert_array_equal(run(after, X), run(model, X))


def test_unsigned_activations_stay() -> None:
    model = parse(quantized("b = Relu(a)", kind="uint8"))
    assert rewritten(model, unsigned_activations.RULE).graph == rewritten(model).graph


def test_narrow_signed_codes_widen_then_lose_their_sign() -> None:
    model = parse(quantized("b = Relu(a)", kind="int4", zero_point=-8))
    after = rewritten(model, widen_containers.RULE, unsigned_activations.RULE)
    clip = next(node for node in after.graph.node if node.op_type == "Clip")
    bounds = {t.name: onnx.numpy_helper.to_array(t) for t in after.graph.initializer}
    assert [int(bounds[name]) for name in clip.input[1:]] == [120, 135]
    np.testing.assert_array_equal(run(after, X), run(model, X))


def test_tensors_that_share_a_zero_point_are_not_translated() -> None:
    model = parse(quantized("b = Relu(a)").replace("t, w)", "s, z)"))
    with pytest.raises(UnsupportedError, match="parameters of its own"):
        translate(model, DIALECTS["onnxruntime"])


def mean(axes: str, keep: int) -> str:
    return f"""(float[N,3,4,4] x) => (float y) <int64[2] axes = {{{axes}}}>
    {{ y = ReduceMean<keepdims = {keep}>(x, axes) }}"""


@pytest.mark.parametrize("axes", ["2,3", "-1,-2"])
def test_mean_over_the_map_is_a_global_pool(axes: str) -> None:
    model = parse(mean(axes, 1).replace("float y", "float[N,3,1,1] y"))
    after = rewritten(model, mean_to_global_pool.RULE)
    assert operators(after) == ["GlobalAveragePool"]
    # two float32 summation orders over 16 values below 2
    np.testing.assert_allclose(run(after, X), run(model, X), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("axes", "keep"), [("1,2", 1), ("2,3", 0)], ids=["axes", "keepdims"])
def test_other_means_stay(axes: str, keep: int) -> None:
    shape = "float[N,1,1,4] y" if keep else "float[N,3] y"
    model = parse(mean(axes, keep).replace("float y", shape))
    assert operators(rewritten(model, mean_to_global_pool.RULE)) == ["ReduceMean"]


@pytest.mark.parametrize(
    ("shape", "after"),
    [("-1,48", "Flatten"), ("-1,24", "Reshape")],
    ids=["sample", "half a sample"],
)
def test_reshape_to_flatten(shape: str, after: str) -> None:
    text = f"""(float[N,3,4,4] x) => (float[M,K] y) <int64[2] shape = {{{shape}}}>
    {{ y = Reshape(x, shape) }}"""
    model = parse(text)
    result = rewritten(model, reshape_to_flatten.RULE)
    assert operators(result) == [after]
    np.testing.assert_array_equal(run(result, X), run(model, X))


WEIGHT = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)


@pytest.mark.parametrize(
    "body",
    [
        "b = Conv(a, weight)",
        "b = Softmax <axis = 1> (a)",
        'c = Resize <mode = "linear"> (a, none, twice)  b = MaxPool <kernel_shape = [2, 2], '
        "strides = [2, 2]> (c)",
    ],
    ids=["Conv", "Softmax", "Resize"],
)
def test_float_operators_stay_float_in_onnx_runtime(body: str) -> None:
    text = quantized(body, kind="uint8", zero_point=128)
    listed = ", ".join(f"{x!r}" for x in WEIGHT.ravel().tolist())
    text = text.replace(
        "float two",
        f"float[3,3,1,1] weight = {{{listed}}}, float[0] none = {{}}, "
        "float[4] twice = {1.0, 1.0, 2.0, 2.0}, float two",
    )
    model = parse(text)
    after = rewritten(model, keep_float.RULE)
    assert operators(after).count("Max") == 1
    real = run(model, X)
    np.testing.assert_array_equal(run(after, X, optimised=True), real)


@pytest.mark.parametrize(("columns", "copies"), [(1, 1), (4, 0)])
def test_a_softmax_by_table_has_rows_of_several_elements(columns: int, copies: int) -> None:
    text = f"""(float[N,3,4,{columns}] x) => (float[N,3,4,{columns}] y) <float scale = {{0.05}},
    uint8 zero = {{128}}, float share = {{0.00390625}}, uint8 none = {{0}}>
    {{ q = QuantizeLinear(x, scale, zero)  a = DequantizeLinear(q, scale, zero)  b = Softmax (a)
       c = QuantizeLinear(b, share, none)  y = DequantizeLinear(c, share, none) }}"""
    model = parse(text)
    after = rewritten(model, keep_float.RULE)
    assert operators(after).count("Max") == copies
    # by table: half a step more of a share
    found, real = run(after, X[..., :columns], optimised=True), run(model, X[..., :columns])
    np.testing.assert_allclose(found, real, rtol=0, atol=0 if copies else 1 / 256)


def test_quantized_weights_and_nearest_pixels_need_no_copy() -> None:
    for body in ("b = Relu(a)", 'b = Resize <mode = "nearest"> (a, none, once)'):
        text = quantized(body).replace(
            "float two", "float[0] none = {}, float[4] once = {1.0, 1.0, 1.0, 1.0}, float two"
        )
        assert "Max" not in operators(rewritten(parse(text), keep_float.RULE))


@pytest.mark.parametrize(
    "body", ["y = Softmax <axis = 1> (a)", 'y = Resize <mode = "linear"> (a, none, twice)'],
    ids=["Softmax", "Resize"],
)  # fmt: skip
def test_reals_that_leave_the_network_need_no_copy(body: str) -> None:
    text = f"""(float[N,3,4,4] x) => (float[N,3,H,W] y) <float scale = {{0.02}},
    uint8 zero = {{128}}, float[0] none = {{}}, float[4] twice = {{1.0, 1.0, 2.0, 2.0}}>
    {{ q = QuantizeLinear(x, scale, zero)  a = DequantizeLinear(q, scale, zero)  {body} }}"""
    model = parse(text)
    after = rewritten(model, keep_float.RULE)
    assert "Max" not in operators(after)
    np.testing.assert_array_equal(run(after, X, optimised=True), run(model, X))
