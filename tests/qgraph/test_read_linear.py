"""Conv, Gemm and MatMul: weights, their axes, and every form of a bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.errors import UnsupportedError
from deployq.qparams import PerChannel, PerTensor
from tests.qgraph.texts import CONSTANTS, kinds, node, read

W = "wd = DequantizeLinear <axis = 0> (w, sw4, zw4)\n"
M = "wd = DequantizeLinear <axis = 1> (m, sw4, zw4)\n"
B = "bd = DequantizeLinear <axis = 0> (b, sb4)\n"
SB4 = CONSTANTS["sx"] * CONSTANTS["sw4"]


def linear(body: str, **options: Any) -> Any:
    """The only layer of a body."""
    graph = read(body, **({"sb4": SB4} | options))
    assert kinds(graph) == ["Quantize", "Linear", "Dequantize"]
    return node(graph, "yq")


def fully_connected(body: str, **options: Any) -> Any:
    return linear(body, shape="N,3", out="N,4", **options)


def refused(match: str, body: str, **options: Any) -> None:
    with pytest.raises(UnsupportedError, match=match):
        linear(body, **options)


def test_conv_has_weights_per_channel_with_their_zero_points() -> None:
    conv = linear(W + B + "v = Conv <strides = [2, 1], pads = [0, 1, 2, 3]> (xd, wd, bd)")
    np.testing.assert_array_equal(conv.weight, CONSTANTS["w"])
    np.testing.assert_array_equal(conv.bias, [10, -20, 30, 40])
    np.testing.assert_array_equal(conv.weight_qparams.zero_point, [0, 1, -2, 3])
    assert conv.weight_qparams.granularity == PerChannel(0)
    assert (conv.geometry.strides, conv.geometry.pads) == ((2, 1), (0, 1, 2, 3))


def test_a_negative_axis_counts_from_the_end() -> None:
    conv = linear(W.replace("axis = 0", "axis = -4") + "v = Conv(xd, wd)")
    assert conv.weight_qparams.granularity == PerChannel(0)
    assert conv.bias is None


def test_gemm_turns_its_weight() -> None:
    body = "wd = DequantizeLinear <axis = 0> (t, sw4, zw4)\nv = Gemm <transB = 1> (xd, wd)"
    gemm = fully_connected(body, t=CONSTANTS["m"].T.copy())
    np.testing.assert_array_equal(gemm.weight, CONSTANTS["m"])
    assert gemm.weight_qparams.granularity == PerChannel(1)
    assert gemm.bias is None


@pytest.mark.parametrize("shape", [(4,), (1, 4)])
def test_gemm_adds_a_row(shape: tuple[int, ...]) -> None:
    body = M + "bd = DequantizeLinear <axis = -1> (row, sb4)\nv = Gemm(xd, wd, bd)"
    gemm = fully_connected(body, row=CONSTANTS["b"].reshape(shape))
    np.testing.assert_array_equal(gemm.bias, [10, -20, 30, 40])


def test_one_bias_serves_all_channels() -> None:
    body = "wd = DequantizeLinear(m, sw, zw)\nbd = DequantizeLinear(one, sb)\nv = Gemm(xd, wd, bd)"
    np.testing.assert_array_equal(fully_connected(body, one=np.int32(7)).bias, [7, 7, 7, 7])


def test_a_weight_may_be_transposed_after_it_is_dequantized() -> None:
    body = """td = DequantizeLinear <axis = 0> (t, sw4, zw4)
        wd = Transpose <perm = [1, 0]> (td)
        v = MatMul(xd, wd)"""
    matmul = fully_connected(body, t=CONSTANTS["m"].T.copy())
    np.testing.assert_array_equal(matmul.weight, CONSTANTS["m"])
    assert matmul.weight_qparams.granularity == PerChannel(1)


@pytest.mark.parametrize("order", ["p, bd", "bd, p"])
def test_matmul_and_add_are_one_layer(order: str) -> None:
    matmul = fully_connected(M + B + f"p = MatMul(xd, wd)\nv = Add({order})")
    assert matmul.op_type == "MatMul"
    np.testing.assert_array_equal(matmul.bias, [10, -20, 30, 40])


def test_a_float_bias_is_rounded_to_codes() -> None:
    bias = np.float32([1.0, -1.0, 0.125, 0.374]) + SB4 * np.float32(0.25)
    matmul = fully_connected(M + "p = MatMul(xd, wd)\nv = Add(p, bf)", bf=bias)
    np.testing.assert_array_equal(matmul.bias, [16, -8, 1, 1])


def test_conv_and_add_of_a_value_for_each_channel_are_one_layer() -> None:
    body = W + "bd = DequantizeLinear <axis = 1> (map, sb4)\np = Conv(xd, wd)\nv = Add(p, bd)"
    conv = linear(body, map=CONSTANTS["b"].reshape(1, 4, 1, 1))
    np.testing.assert_array_equal(conv.bias, [10, -20, 30, 40])


def test_matmul_of_two_activations() -> None:
    graph = read("v = MatMul(xd, xd)")
    assert kinds(graph) == ["Quantize", "MatMul", "Dequantize"]


def test_matmul_with_a_stack_of_constants_reads_them_as_an_operand() -> None:
    graph = read(
        "sd = DequantizeLinear(s, sw, zw)\nv = MatMul(xd, sd)",
        s=np.int8([[[1], [2]]]),
        shape="N,3,8,2",
    )
    assert kinds(graph) == ["Quantize", "MatMul", "Dequantize"]
    assert node(graph, "yq").inputs == ("xq", "sd.codes")
    assert graph.qparams["sd.codes"].granularity == PerTensor()
    np.testing.assert_array_equal(graph.constants["sd.codes"], [[[1], [2]]])


def test_a_bias_of_another_scale_keeps_it() -> None:
    scale = SB4 * np.float32(1.001)
    conv = linear(W + B + "v = Conv(xd, wd, bd)", sb4=scale)
    np.testing.assert_array_equal(conv.bias, [10, -20, 30, 40])
    np.testing.assert_array_equal(conv.bias_step, scale.astype(np.float64))
    one = linear(W + "bd = DequantizeLinear(b, sb)\nv = Conv(xd, wd, bd)", sb=np.float32(0.7))
    np.testing.assert_array_equal(one.bias_step, [np.float32(0.7)] * 4)
    assert linear(W + B + "v = Conv(xd, wd, bd)").bias_step is None


def test_a_bias_with_a_zero_point_is_refused() -> None:
    body = W + "bd = DequantizeLinear <axis = 0> (b, sb4, zb4)\nv = Conv(xd, wd, bd)"
    refused(r"node v \(Conv\): a bias has zero point 0", body, zb4=np.int32([0, 0, 0, 1]))


def test_a_bias_of_another_length_is_refused() -> None:
    body = M + "p = MatMul(xd, wd)\nv = Add(p, bf)"
    rule = r"node v \(Add\): a bias has one value for each output channel"
    refused(rule, body, bf=np.ones((4, 1), np.float32), shape="N,3", out="N,4")


def test_a_bias_behind_a_relu_is_no_bias() -> None:
    body = M + "p = MatMul(xd, wd)\nr = Relu(p)\nv = Add(r, bf)"
    rule = r"(?s)node v \(Add\): input 0 comes from .*unquantized output of MatMul p"
    refused(rule, body, bf=np.ones(4, np.float32), shape="N,3", out="N,4")


def test_a_second_bias_is_refused() -> None:
    body = M + B + "p = Gemm(xd, wd, bd)\nv = Add(p, bd)"
    refused(r"node v \(Add\): input 0 comes from", body, shape="N,3", out="N,4")


def test_a_bias_that_is_computed_is_refused() -> None:
    refused(r"node v \(Conv\): a bias is constant", W + "v = Conv(xd, wd, xd)")


def test_scales_along_the_inputs_are_refused() -> None:
    body = "wd = DequantizeLinear <axis = 0> (m, s3)\nv = MatMul(xd, wd)"
    rule = r"(?s)node v \(MatMul\): weights have one scale, or .*allowed: per tensor, or axis 1"
    refused(rule, body, s3=np.float32([1, 2, 3]), shape="N,3", out="N,4")


def test_scales_in_blocks_are_refused() -> None:
    body = "wd = DequantizeLinear <axis = 0, block_size = 2> (m, s24)\nv = MatMul(xd, wd)"
    rule = r"node v \(MatMul\): weights have one scale"
    refused(rule, body, s24=np.ones((2, 4), np.float32), opset=21, shape="N,3", out="N,4")


@pytest.mark.parametrize("attribute", ["alpha = 2.0", "beta = 0.5", "transA = 1"])
def test_a_scaled_gemm_is_refused(attribute: str) -> None:
    rule = r"node v \(Gemm\): Gemm has alpha 1, beta 1 and no transA"
    refused(rule, M + f"v = Gemm <{attribute}> (xd, wd)", shape="N,3", out="N,4")
