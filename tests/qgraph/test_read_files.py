"""Files of other tools: each is read, or refused with the node and the reason."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest

from deployq.errors import UnsupportedError
from deployq.qgraph import read_graph

DATA = Path(os.environ.get("DEPLOYQ_DATA", Path(__file__).parents[3] / "shared" / "data"))
FOLDER = DATA / "onnx_thirdparty"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the third-party models are not here; set DEPLOYQ_DATA"
)

READ = {
    "mobilenetv2_qdq_pertensor.onnx": 67,
    "ort_testdata/conv_qdq_s8s8.onnx": 3,
    "ort_testdata/conv_qdq_s8s8_perchannel.onnx": 3,
    "ort_testdata/conv_qdq_u8u8.onnx": 3,
    "ort_testdata/test_conv_follow_convtrans_s8.onnx": 4,
}
"""File to the number of its integer nodes."""

NO_FORM = "every operator between the first and the last code has an integer form"
FLOAT_OUTPUT = "an output is codes, or reals read from codes"
FLOAT_WEIGHT = "input 1 is a dequantized constant"
REFUSED = {
    "cifar10_tinymobilenet_float.onnx": ("node_Conv_219", FLOAT_WEIGHT),
    "cifar10_tinymobilenet_qoperator.onnx": ("node_mean", NO_FORM),  # float ReduceMean
    "mobilenetv2_qdq_perchannel.onnx": ("node_mean", NO_FORM),  # float ReduceMean
    "ultraface_rfb320_float.onnx": ("245", FLOAT_WEIGHT),
    "ort_testdata/constant_folding_dequantizelinear.qdq16.onnx": ("conv_node", FLOAT_OUTPUT),
    "ort_testdata/layout_transform_reshape.qdq.onnx": ("ReduceMean_216", NO_FORM),
    "ort_testdata/nhwc_resize_sizes_opset18.quant.onnx": (
        "resize_out", "Resize has mode nearest",
    ),
    "ort_testdata/qdq_with_multi_consumer_dq_nodes.fixed.qdq16.onnx": (
        "MobilenetEdgeTPU/expanded_conv_4/add", FLOAT_OUTPUT,
    ),
    "ort_testdata/qdq_with_multi_consumer_dq_nodes.onnx": (
        "MobilenetEdgeTPU/expanded_conv_4/add", FLOAT_OUTPUT,
    ),
    "ort_testdata/qdq_with_multi_consumer_q_dq_axis.onnx": ("Convolution28", FLOAT_OUTPUT),
}  # fmt: skip
"""File to the node that has no integer form, and the rule it breaks."""


def test_every_file_is_listed() -> None:
    names = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.onnx")}
    assert names == READ.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read(name: str) -> None:
    graph = read_graph(onnx.load(FOLDER / name))
    assert len(graph.nodes) == READ[name]
    assert {name for node in graph.nodes for name in node.inputs} <= {
        *graph.qparams, *graph.inputs
    }  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        read_graph(onnx.load(FOLDER / name))
    node, rule = REFUSED[name]
    assert f"node {node}" in caught.value.where
    assert (caught.value.rule, caught.value.next_step != "") == (rule, True)
