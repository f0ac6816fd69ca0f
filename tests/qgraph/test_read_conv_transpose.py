"""ConvTranspose: its window, its weights outputs first, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.arithmetic.geometry import ConvTransposeGeometry
from deployq.errors import UnsupportedError
from deployq.qparams import PerChannel, PerTensor
from tests.qgraph.texts import CONSTANTS, kinds, node, read

CODES = np.arange(-54, 54, dtype=np.int8).reshape(3, 4, 3, 3)
W = "wd = DequantizeLinear <axis = 1> (t, sw4, zw4)\n"
B = "bd = DequantizeLinear <axis = 0> (b, sb4)\n"


def layer(body: str, **options: Any) -> Any:
    facts = {"t": CODES, "sb4": CONSTANTS["sx"] * CONSTANTS["sw4"], **options}
    graph = read(body, **facts)
    assert kinds(graph) == ["Quantize", "Linear", "Dequantize"]
    return node(graph, "yq")


def test_weights_scales_and_window() -> None:
    body = """v = ConvTranspose <strides = [2, 3], pads = [0, 1, 2, 1], output_padding = [1, 0],
        dilations = [1, 2]> (xd, wd, bd)"""
    found = layer(W + B + body)
    np.testing.assert_array_equal(found.weight, CODES.transpose(1, 0, 2, 3))
    np.testing.assert_array_equal(found.weight_qparams.scale, CONSTANTS["sw4"])
    np.testing.assert_array_equal(found.bias, CONSTANTS["b"])
    assert found.weight_qparams.granularity == PerChannel(0)
    window = ConvTransposeGeometry((2, 3), (0, 1, 2, 1), (1, 2), 1, (1, 0))
    assert (found.op_type, found.geometry) == ("ConvTranspose", window)


def test_the_scales_of_a_group_are_those_of_every_group() -> None:
    found = layer(W + "v = ConvTranspose <group = 3> (xd, wd)")
    assert found.weight.shape == (12, 1, 3, 3)
    np.testing.assert_array_equal(found.weight[4 + 2, 0], CODES[1, 2])  # group 1, output 2
    np.testing.assert_array_equal(found.weight_qparams.scale, np.tile(CONSTANTS["sw4"], 3))
    np.testing.assert_array_equal(found.weight_qparams.zero_point, [0, 1, -2, 3] * 3)


def test_one_scale_and_a_bias_by_an_add() -> None:
    body = "wd = DequantizeLinear(t, sw)\na = ConvTranspose(xd, wd)\nv = Add(a, f)"
    found = layer(body, f=np.float32([[[0.5]], [[1]], [[2]], [[-3]]]))
    assert found.weight_qparams.granularity == PerTensor()
    np.testing.assert_array_equal(found.bias, [8, 16, 32, -48])  # scale 0.5 * 0.125


@pytest.mark.parametrize(("body", "rule"), [
    (W + 'v = ConvTranspose <auto_pad = "SAME_UPPER"> (xd, wd)',
     r"(?s)node v \(ConvTranspose\): ConvTranspose states its pads.*SAME_UPPER.*next: write the"),
    (W + "v = ConvTranspose <output_shape = [9, 9]> (xd, wd)", r"(?s)states its pads.*\[9, 9\]"),
    (W.replace("axis = 1", "axis = 0").replace("4", "3") + "v = ConvTranspose(xd, wd)",
     r"(?s)one for each output channel.*axis=0.*per tensor, or axis 1"),
    ("v = ConvTranspose(xd, xd)", "input 1 is a dequantized constant"),
])  # fmt: skip
def test_what_is_refused(body: str, rule: str) -> None:
    with pytest.raises(UnsupportedError, match=rule):
        layer(body, sw3=np.float32([1, 2, 3]), zw3=np.int8([0, 0, 0]))
