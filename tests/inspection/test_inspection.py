"""Inspection of a stored bundle whose numbers one can count by hand, and of odd files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from deployq import jobs, pipeline
from deployq.errors import InputError, UnsupportedError
from deployq.inspection.reading import inspect_graph
from deployq.inspection.tables import print_inspection, total_lines
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Linear
from deployq.qgraph.sizes import macs, packed_size
from deployq.qtypes import QType
from deployq.simulator.shapes import code_shapes
from deployq_exporters.lowering import lower, to_proto
from tests.graph.networks import Net, calibrated

STORED = Path(__file__).parent.parent / "fixtures/bundles/v3"
# (N, 2, 6, 6): stem 4x2x3x3, side 4x1x3x3 depthwise, add, mean, head 4 to 3; biases everywhere
MACS = {"stem": 36 * 4 * 18, "side": 36 * 4 * 9, "head": 12}


@pytest.fixture
def model() -> onnx.ModelProto:
    return onnx.load(STORED / "model.onnx")


def test_rows_of_a_bundle() -> None:
    found = jobs.inspect_file(STORED)
    rows = {row.name: row for row in found.rows}
    assert list(rows)[:4] == ["x", "stem", "side", "add"] and found.target == "int4-npu"
    assert {name: row.macs for name, row in rows.items() if row.macs} == MACS
    assert rows["stem"].share == pytest.approx(MACS["stem"] / sum(MACS.values()))
    assert rows["stem"].shape == (1, 4, 6, 6) and rows["stem"].size == 144
    weight = rows["side"].weight
    assert weight is not None and (weight.shape, weight.size) == ((4, 1, 3, 3), 18)
    assert (weight.grid.qtype, weight.grid.codes, weight.grid.scales) == ("s4", (-7, 7), 4)
    assert (weight.bias, weight.bias_size) == ("s32", 16) and rows["add"].weight is None
    assert weight.grid.covers == pytest.approx(
        (-7 * weight.grid.scale[1], 7 * weight.grid.scale[1])
    )


def test_totals_of_a_bundle() -> None:
    found = jobs.inspect_file(STORED)
    assert found.macs == sum(MACS.values()) and found.integer_share == 1.0
    assert found.parameters == 72 + 36 + 12 + 11 and found.size == 36 + 18 + 6 + 44
    assert (found.live_size, found.live_at) == (3 * 144, "add")  # both operands and the sum
    assert dict(found.files)["model.onnx"] == (STORED / "model.onnx").stat().st_size
    plan = pipeline.load_prepared(STORED).plan
    assert {layer.name: layer.macs for layer in plan.layers} == MACS


def test_a_bare_file_has_containers_and_no_target() -> None:
    found = jobs.inspect_file(STORED / "model.onnx")
    rows = {row.name: row for row in found.rows}
    assert found.target is None and found.integer_share == 1.0 and found.macs == sum(MACS.values())
    weight = rows["side"].weight
    assert weight is not None and weight.grid.codes == (-8, 7)


def test_what_the_plan_leaves_in_float_is_no_integer_share(model: onnx.ModelProto) -> None:
    graph, plan = read_graph(model), pipeline.load_prepared(STORED).plan
    plan = replace(plan, floats=("side: float, the target runs Conv as float",))
    found = inspect_graph(graph, code_shapes(model, graph), source="m", plan=plan)
    assert found.integer_share == pytest.approx(1 - MACS["side"] / sum(MACS.values()))
    assert "float: side: float, the target runs Conv as float" in total_lines(found)


def test_free_dimensions_leave_sizes_unknown(
    model: onnx.ModelProto, capsys: pytest.CaptureFixture[str]
) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    graph = read_graph(model)
    found = inspect_graph(graph, code_shapes(model, graph), source="m")
    assert {row.shape for row in found.rows} == {None} and found.macs is None
    assert found.parameters == 131 and found.live_size is None
    print_inspection(found)
    assert "leaves dimensions free" in capsys.readouterr().out


def test_sizes_that_do_not_fit_are_refused(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    with pytest.raises((InputError, UnsupportedError, RuntimeError)):
        code_shapes(model, read_graph(model))


@pytest.mark.parametrize(
    ("count", "qtype", "size"),
    [(3, "s4", 2), (3, "s3", 2), (5, "u2", 2), (9, "u1", 3), (3, "s5", 3), (3, "u12", 6)],
)
def test_sub_byte_codes_are_packed(count: int, qtype: str, size: int) -> None:
    assert packed_size(count, QType.parse(qtype)) == size


def test_the_table_shows_names_as_they_are(
    model: onnx.ModelProto, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = read_graph(model)
    found = inspect_graph(graph, code_shapes(model, graph), source="m")
    rows = tuple(replace(row, name=f"{row.name}[bold]{'long' * 40}") for row in found.rows)
    print_inspection(replace(found, rows=rows))
    text = "".join(capsys.readouterr().out.split())
    assert "side[bold]longlong" in text and "4x1x3x3" in text


def test_facts_are_json() -> None:
    facts = json.loads(json.dumps(jobs.inspect_file(STORED).to_json(), allow_nan=False))
    assert facts["rows"][1]["weight"]["grid"]["qtype"] == "s4"
    assert facts["macs"] == sum(MACS.values())


def test_each_input_of_a_transposed_convolution_writes_a_window() -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(3, 4, 3, stride=2, groups=1)
    prepared = calibrated(Net(lambda m, x: m.up(x), up=up).eval(), "ort-cpu")
    (layer,) = prepared.plan.layers
    graph = read_graph(to_proto(lower(prepared, prepared.profile)))
    node = next(node for node in graph.nodes if isinstance(node, Linear))
    shapes = {node.inputs[0]: (1, 3, 6, 6), node.output: (1, 4, 13, 13)}
    assert macs(node, shapes) == layer.macs == 3 * 36 * 4 * 9
