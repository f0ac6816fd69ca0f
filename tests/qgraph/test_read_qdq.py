"""QuantizeLinear and DequantizeLinear: parameters, types, borders and sharing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from deployq import affine
from deployq.errors import InputError, QuantizationError, UnsupportedError
from deployq.qgraph import read_graph
from deployq.qparams import PerChannel, QParams
from deployq.qtypes import QType
from tests.qgraph.texts import kinds, model, node, qdq, read

U8, S8 = QType(8, False), QType(8, True)


def test_borders_become_quantize_and_dequantize() -> None:
    graph = read("v = Sigmoid(xd)")
    assert kinds(graph) == ["Quantize", "Lookup", "Dequantize"]
    assert (graph.inputs, graph.outputs) == (("x",), ("y",))
    assert graph.qparams["xq"] == QParams(U8, np.float32(0.5), np.int64(3))
    assert node(graph, "yq").inputs == ("xq",)


def test_requantization_is_a_rescale() -> None:
    graph = read("v = Identity(xd)")
    assert kinds(graph) == ["Quantize", "Move", "Rescale", "Dequantize"]
    graph = read_graph(
        model("""g (float[N] x) => (uint8[N] y) {
        q = QuantizeLinear(x, sx, zx)
        d = DequantizeLinear(q, sx, zx)
        y = QuantizeLinear(d, sy, zy)
    }""")
    )
    assert kinds(graph) == ["Quantize", "Rescale"]


def test_a_missing_zero_point_is_zero() -> None:
    graph = read_graph(
        model("""g (float[N] x) => (float[N] y) {
        q = QuantizeLinear(x, sx)
        y = DequantizeLinear(q, sx)
    }""")
    )
    assert graph.qparams["q"] == QParams(U8, np.float32(0.5))


def test_output_dtype_states_the_type() -> None:
    text = """g (float[N] x) => (int8[N] y) { y = QuantizeLinear <output_dtype = 3> (x, sx) }"""
    assert read_graph(model(text, opset=21)).qparams["y"].qtype == S8


def test_a_float8_zero_point_is_refused() -> None:
    made = qdq("v = Sigmoid(xd)", opset=19)
    zero = onnx.helper.make_tensor("zx", onnx.TensorProto.FLOAT8E4M3FN, [], [0.0])
    made.graph.initializer[[i.name for i in made.graph.initializer].index("zx")].CopyFrom(zero)
    with pytest.raises(UnsupportedError, match=r"node xq \(QuantizeLinear\): codes are integers"):
        read_graph(made)


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_16_bit_codes(opset: int) -> None:
    domain = "" if opset == 21 else "com.microsoft."
    graph = read_graph(
        model(
            f"""g (float[N] x) => (float[N] y) {{
        q = {domain}QuantizeLinear(x, sx, z16)
        y = {domain}DequantizeLinear(q, sx, z16)
    }}""",
            opset=opset,
            z16=np.uint16(40000),
        )
    )
    assert graph.qparams["q"] == QParams(QType(16, False), np.float32(0.5), np.int64(40000))


def test_codes_read_with_other_parameters_keep_their_codes() -> None:
    graph = read_graph(
        model("""g (float[N] x) => (float[N] y, float[N] z) {
        q = QuantizeLinear(x, sx, zx)
        y = DequantizeLinear(q, sx, zx)
        z = DequantizeLinear(q, sy, zy)
    }""")
    )
    move = node(graph, "z.codes")
    assert (move.op_type, move.inputs) == ("Identity", ("q",))
    assert graph.qparams["z.codes"].scale == np.float32(0.25)
    assert graph.qparams["q"].scale == np.float32(0.5)


def test_duplicate_dequantize_nodes_read_one_tensor() -> None:
    graph = read("""x2 = DequantizeLinear(xq, sx, zx)
        v = Add(xd, x2)""")
    assert kinds(graph) == ["Quantize", "Elementwise", "Dequantize"]
    assert node(graph, "yq").inputs == ("xq", "xq")


def test_one_tensor_has_several_consumers() -> None:
    graph = read("""a = Sigmoid(xd)
        aq = QuantizeLinear(a, sx, zx)
        ad = DequantizeLinear(aq, sx, zx)
        v = Mul(xd, ad)""")
    assert kinds(graph) == ["Quantize", "Lookup", "Elementwise", "Dequantize"]
    assert node(graph, "yq").inputs == ("xq", "aq")


def test_integer_inputs_and_outputs() -> None:
    graph = read_graph(
        model("""g (uint8[N] x, float[N] x2) => (uint8[N] y, float[N] y2) {
        d = DequantizeLinear(x, sx, zx)
        q2 = QuantizeLinear(x2, sy, zy)
        d2 = DequantizeLinear(q2, sy, zy)
        v = Add(d, d2)
        y = QuantizeLinear(v, sy, zy)
        y2 = DequantizeLinear(y, sy, zy)
    }""")
    )
    assert (graph.inputs, graph.outputs) == (("x", "x2"), ("y", "y2"))
    assert kinds(graph) == ["Quantize", "Elementwise", "Dequantize"]
    assert graph.qparams["x"].zero_point == 3


def test_moved_integer_inputs_take_the_parameters_of_their_reader() -> None:
    graph = read_graph(
        model("""g (uint8[N,8,8,3] x) => (float[N,3,8,8] y) {
        t = Transpose <perm = [0, 3, 1, 2]> (x)
        y = DequantizeLinear(t, sx, zx)
    }""")
    )
    assert kinds(graph) == ["Move", "Dequantize"]
    assert graph.qparams["x"] == graph.qparams["t"] == QParams(U8, np.float32(0.5), np.int64(3))


def test_joined_integer_inputs_need_their_parameters_first() -> None:
    text = """g (uint8[N,3] x, uint8[N,3] x2) => (float[N,6] y) {
        j = Concat <axis = 1> (x, x2)
        y = DequantizeLinear(j, sx, zx)
    }"""
    with pytest.raises(UnsupportedError, match=r"(?s)node j \(Concat\): .*found: x, x2"):
        read_graph(model(text))


def test_codes_without_parameters_are_refused() -> None:
    text = "g (uint8[N,3] x) => (uint8[3,N] y) { y = Transpose(x) }"
    with pytest.raises(UnsupportedError, match=r"node y \(Transpose\): codes have a scale"):
        read_graph(model(text))


def test_float_weights_behind_a_quantizer_become_codes() -> None:
    w = np.linspace(-9, 9, 12, dtype=np.float32).reshape(4, 3, 1, 1)
    graph = read(
        """wq = QuantizeLinear <axis = 0> (wf, sw4, zw4)
        wd = DequantizeLinear <axis = 0> (wq, sw4, zw4)
        v = Conv(xd, wd)""",
        wf=w,
    )
    linear = node(graph, "yq")
    assert linear.weight_qparams.granularity == PerChannel(0)
    np.testing.assert_array_equal(linear.weight, affine.quantize(w, linear.weight_qparams))


def test_a_constant_can_leave_the_graph() -> None:
    graph = read_graph(
        model("""g (float[N] x) => (float[3,1] y, uint8[N] z) {
        y = DequantizeLinear(c, sx, zx)
        z = QuantizeLinear(x, sx, zx)
    }""")
    )
    assert kinds(graph) == ["Quantize", "Dequantize"]
    np.testing.assert_array_equal(graph.constants["y.codes"], [[7], [8], [9]])


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("a = Identity(xq)\nv = Cast <to = 1> (a)", r"node v \(Cast\): an operator in float reads"),
    ],
)
def test_what_is_no_codes_is_refused(body: str, rule: str) -> None:
    with pytest.raises(UnsupportedError, match=rule):
        read(body, wf=np.ones((4, 3, 1, 1), np.float32))


def test_an_output_that_no_quantizer_follows_was_made_in_float() -> None:
    text = """g (float[N] x) => (float[N] y) {
        q = QuantizeLinear(x, sx, zx)
        d = DequantizeLinear(q, sx, zx)
        y = Sigmoid(d)
    }"""
    graph = read_graph(model(text))
    assert kinds(graph) == ["Quantize", "Dequantize", "Float"] and graph.outputs == ("y",)


def test_several_scales_in_an_activation_are_refused() -> None:
    text = """g (float[N,4] x) => (float[N,4] y) {
        q = QuantizeLinear(x, sw4, zw4)
        y = DequantizeLinear(q, sw4, zw4)
    }"""
    with pytest.raises(UnsupportedError, match=r"node q .*: an activation has one scale"):
        read_graph(model(text))


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_a_scale_that_is_none_names_the_node(scale: float) -> None:
    rule = r"node yq \(QuantizeLinear\), scale: scales are positive"
    with pytest.raises(QuantizationError, match=rule):
        read("v = Sigmoid(xd)", sy=np.float32(scale))


def test_a_zero_point_of_another_shape_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"node xq .*: scale and zero point have the same"):
        read("v = Sigmoid(xd)", zx=np.uint8([1, 2]))


def test_a_graph_out_of_order_is_an_input_error() -> None:
    made = qdq("v = Sigmoid(xd)")
    made.graph.node.insert(0, made.graph.node.pop())
    with pytest.raises(InputError, match=r"node y \(DequantizeLinear\), input 0: .* before it"):
        read_graph(made)


def test_external_data_is_not_read() -> None:
    made = qdq("v = Sigmoid(xd)")
    made.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(InputError, match="the model's data is in memory"):
        read_graph(made)
