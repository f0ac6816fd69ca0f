"""Files of other tools: each is read."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest

from deployq.qgraph import read_graph

DATA = Path(os.environ.get("DEPLOYQ_DATA", Path(__file__).parents[3] / "shared" / "data"))
FOLDER = DATA / "onnx_thirdparty"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the third-party models are not here; set DEPLOYQ_DATA"
)

READ = {
    "cifar10_tinymobilenet_float.onnx": (30, 30),
    "cifar10_tinymobilenet_qoperator.onnx": (21, 2),  # ReduceMean
    "mobilenetv2_qdq_perchannel.onnx": (69, 2),  # ReduceMean
    "mobilenetv2_qdq_pertensor.onnx": (67, 0),
    "ultraface_rfb320_float.onnx": (145, 145),
    "ort_testdata/constant_folding_dequantizelinear.qdq16.onnx": (3, 1),  # Conv without Q
    "ort_testdata/conv_qdq_s8s8.onnx": (3, 0),
    "ort_testdata/conv_qdq_s8s8_perchannel.onnx": (3, 0),
    "ort_testdata/conv_qdq_u8u8.onnx": (3, 0),
    "ort_testdata/layout_transform_reshape.qdq.onnx": (25, 3),
    "ort_testdata/nhwc_resize_sizes_opset18.quant.onnx": (11, 1),
    "ort_testdata/qdq_with_multi_consumer_dq_nodes.fixed.qdq16.onnx": (13, 1),  # Add without Q
    "ort_testdata/qdq_with_multi_consumer_dq_nodes.onnx": (12, 1),
    "ort_testdata/qdq_with_multi_consumer_q_dq_axis.onnx": (20, 2),
    "ort_testdata/test_conv_follow_convtrans_s8.onnx": (4, 0),
}
"""File to the number of its nodes, and of those in float."""


def test_every_file_is_listed() -> None:
    names = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.onnx")}
    assert names == READ.keys()


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read(name: str) -> None:
    graph = read_graph(onnx.load(FOLDER / name))
    assert (len(graph.nodes), len(graph.floats)) == READ[name]
    reals = {node.output for node in graph.nodes if not node.writes_codes}
    assert {name for node in graph.nodes for name in node.inputs} <= {
        *graph.qparams, *graph.inputs, *reals
    }  # fmt: skip
