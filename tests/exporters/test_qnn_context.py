"""Offline preparation for Qualcomm HTP: one context, the same codes, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from deployq import pipeline
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq_exporters.adapters import presence
from deployq_exporters.adapters.qnn_htp import ADAPTER
from deployq_exporters.runtimes.qnn_context import prepare_offline, read_context
from deployq_exporters.runtimes.qnn_htp import Session, installed
from tests.commands import run_command
from tests.exporters.graphs import parse

htp = pytest.mark.skipif(not installed(), reason="needs deployq[qnn]")

CODES = "(uint8[{batch},2,4,4] x) => (uint8[{batch},2,4,4] y) <float s = {{0.1}}, uint8 z = {{3}}>"
RELU = CODES + "{{ a = DequantizeLinear(x, s, z)  b = Relu(a)  y = QuantizeLinear(b, s, z) }}"
PARTED = (
    CODES
    + """{{
    a = DequantizeLinear(x, s, z)  b = Relu(a)  c = QuantizeLinear(b, s, z)
    d = DequantizeLinear(c, s, z)  curve = Erf(d)  f = QuantizeLinear(curve, s, z)
    g = DequantizeLinear(f, s, z)  h = Relu(g)  y = QuantizeLinear(h, s, z) }}"""
)


@htp
def test_a_prepared_file_computes_the_same_codes(
    bundles: Callable[[str], Path], unseen: Dataset
) -> None:
    model = onnx.load(bundles("qnn-htp") / "model.onnx")
    before, context = model.SerializeToString(), prepare_offline(model, "68")
    assert model.SerializeToString() == before  # it is not changed
    assert context.binary_bytes > 1000 and context.sdk
    assert ":68:" in context.compatibility
    (node,) = onnx.load_from_string(context.content).graph.node
    assert node.op_type == "EPContext"
    inputs = {model.graph.input[0].name: unseen.inputs["x"][:8]}
    (plain, _), (prepared, codes) = (
        session.run(inputs) for session in (Session(model), Session(model, context=context))
    )
    assert codes == {} and prepared.keys() == plain.keys()
    for name, wanted in plain.items():
        np.testing.assert_array_equal(prepared[name], wanted)


@htp
def test_nodes_beside_the_context_are_named() -> None:
    with pytest.raises(InputError, match="becomes one context") as caught:
        prepare_offline(parse(PARTED.format(batch="N")))
    assert str(caught.value.found).startswith("2 contexts; beside them: ")
    assert "curve (Erf)" in str(caught.value.found)
    with pytest.raises(InputError, match="one sample at a time"):
        prepare_offline(parse(RELU.format(batch=4)))


@htp
def test_codes_depend_on_the_architecture(bundles: Callable[[str], Path], unseen: Dataset) -> None:
    model = onnx.load(bundles("qnn-htp") / "model.onnx")
    inputs, name = {model.graph.input[0].name: unseen.inputs["x"][:8]}, model.graph.output[0].name
    found = {a: Session(model, architecture=a).run(inputs)[0][name] for a in ("", "68", "73")}
    np.testing.assert_array_equal(found[""], found["68"])
    later = Session(model, context=prepare_offline(model, "73")).run(inputs)[0][name]
    np.testing.assert_array_equal(later, found["73"])
    assert (later != found["68"]).any()


@htp
def test_standard_output_stays_free(capfd: pytest.CaptureFixture[str]) -> None:
    prepare_offline(parse(RELU.format(batch="N")))
    print("answer")
    assert capfd.readouterr().out == "answer\n"


def test_what_is_no_prepared_file_is_refused() -> None:
    with pytest.raises(InputError, match="is an ONNX file"):
        read_context(b"no such thing")
    plain = parse(RELU.format(batch="N")).SerializeToString()
    with pytest.raises(InputError, match="one context") as caught:
        read_context(plain, "net")
    assert caught.value.where == "net" and "0 contexts" in str(caught.value.found)


@htp
def test_a_bundle_holds_the_context_and_its_verification_runs_it(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset, unseen: Dataset,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    path, data = tmp_path / "b", tmp_path / "data.npz"
    bundle = pipeline.export(make_prepared("qnn-htp"), path, calibration, runtimes="qnn-htp")
    facts: Any = bundle.facts["runtimes"]
    assert facts["qnn-htp"]["compiled"] == {
        "file": "model.qnn.context.onnx",
        "made_by": f"onnxruntime-qnn {presence(ADAPTER).version}",
        "left_out": None,
        "settings": {},
        "reproducible": False,
    }
    context = read_context((path / "model.qnn.context.onnx").read_bytes())
    np.savez(data, x=unseen.inputs["x"][:16], y=np.asarray(unseen.labels)[:16])
    arguments = ("verify", path, "--data", data, "--runtime", "qnn-htp", "--json")
    printed = run_command(monkeypatch, capsys, *arguments)
    (row,) = json.loads(printed.out)["rows"]
    assert row["simulated"] == {"compared": 160, "different": 0, "largest": 0}
    assert row["facts"] == {
        "context_bytes": context.binary_bytes,
        "prepared_by": f"QNN {context.sdk}",
        "compatibility": context.compatibility,
    }
