"""Pads, strides and auto_pad of convolutions and pools."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from deployq.errors import InputError, UnsupportedError
from deployq.qgraph import read_graph
from tests.qgraph.texts import node, qdq, read

SAME = ["SAME_UPPER", "SAME_LOWER"]


@pytest.mark.parametrize("auto_pad", [*SAME, "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("attributes", ["", ", dilations = [2, 1]"])
def test_auto_pad_of_conv(auto_pad: str, stride: int, attributes: str) -> None:
    body = f"""wd = DequantizeLinear(k, sw, zw)
        v = Conv <auto_pad = "{auto_pad}", strides = [{stride}, {stride}]{attributes}> (xd, wd)"""
    made = qdq(body, shape="N,3,9,8", k=np.ones((4, 3, 3, 2), np.int8))
    geometry = node(read_graph(made), "yq").geometry
    top, left, bottom, right = geometry.pads
    inferred = onnx.shape_inference.infer_shapes(made, strict_mode=True).graph.value_info
    (v,) = (value for value in inferred if value.name == "v")
    size = tuple(d.dim_value for d in v.type.tensor_type.shape.dim)[2:]
    assert geometry.output_size((9, 8), (3, 2)) == size
    more_at_the_end = {bottom - top, right - left}
    assert more_at_the_end <= {"SAME_UPPER": {0, 1}, "SAME_LOWER": {0, -1}}.get(auto_pad, {0})


@pytest.mark.parametrize("auto_pad", SAME)
def test_auto_pad_of_a_pool_is_where_onnx_puts_it(auto_pad: str) -> None:
    window = "kernel_shape = [3, 2], strides = [2, 2]"
    body = f"""v = MaxPool <{window}, auto_pad = "{auto_pad}"> (xd)"""
    made = qdq(body, shape="1,1,8,7")
    pads = node(read_graph(made), "yq.moved").geometry.pads
    body = body.replace(f'auto_pad = "{auto_pad}"', f"pads = {list(pads)}")
    explicit = qdq(body, shape="1,1,8,7")
    x = np.random.default_rng(0).uniform(0, 100, (1, 1, 8, 7)).astype(np.float32)
    sessions = [ort.InferenceSession(m.SerializeToString()) for m in (made, explicit)]
    expected, found = (session.run(None, {"x": x})[0] for session in sessions)
    np.testing.assert_array_equal(found, expected)
    assert sum(pads) > 0


def test_auto_pad_without_a_stride_needs_no_size() -> None:
    body = """v = AveragePool <kernel_shape = [3, 2], auto_pad = "SAME_LOWER"> (xd)"""
    assert node(read(body, shape="N,3,H,W"), "yq").geometry.pads == (1, 1, 1, 0)


def test_auto_pad_of_an_unknown_size_is_refused() -> None:
    body = """v = MaxPool <kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_UPPER"> (xd)"""
    rule = r"(?s)node v \(MaxPool\): auto_pad with a stride needs the size.*next: bind the input's"
    with pytest.raises(UnsupportedError, match=rule):
        read(body, shape="N,3,H,8")


@pytest.mark.parametrize("attribute", ["ceil_mode = 1", "dilations = [2, 2]"])
def test_other_pools_are_refused(attribute: str) -> None:
    with pytest.raises(UnsupportedError, match=r"node v \(MaxPool\): pools round sizes down"):
        read(f"v = MaxPool <kernel_shape = [2, 2], {attribute}> (xd)")


def test_a_convolution_over_one_axis_is_refused() -> None:
    body = "wd = DequantizeLinear(k, sw, zw)\nv = Conv(xd, wd)"
    with pytest.raises(UnsupportedError, match=r"node v \(Conv\): windows have two axes"):
        read(body, shape="N,3,8", out="N,4,8", k=np.ones((4, 3, 1), np.int8))


def test_a_pad_as_long_as_the_kernel_names_the_node() -> None:
    with pytest.raises(InputError, match=r"node v \(MaxPool\), PoolGeometry: a pad is shorter"):
        read("v = MaxPool <kernel_shape = [2, 2], pads = [2, 0, 0, 0]> (xd)")
