"""The commands ``runtimes`` and ``verify --runtime``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployq import packages, pipeline
from deployq.data import Dataset
from deployq.errors import InputError, UnsupportedError
from deployq.graph.preparation import PreparedModel
from deployq.jobs import left_out
from deployq.runtimes.compiling import compile_here
from deployq_exporters.adapters import ADAPTERS, Compiled, Source, presence
from deployq_targets import load_profile
from tests.commands import run_command


def test_runtimes_are_listed_with_what_installs_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = run_command(monkeypatch, capsys, "runtimes", "--json")
    found = {entry["runtime"]: entry for entry in json.loads(printed.out)["runtimes"]}
    assert found["onnxruntime"]["version"] and not found["onnxruntime"]["problem"]
    assert all(entry["install"].startswith("pip install") for entry in found.values())
    table = run_command(monkeypatch, capsys, "runtimes")
    assert all(name in table.out for name in found) and table.code == 0


def test_a_bundle_in_a_runtime(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    bundles: Callable[[str], Path], unseen: Dataset, tmp_path: Path,
) -> None:  # fmt: skip
    data = tmp_path / "data.npz"
    np.savez(data, x=unseen.inputs["x"][:32], y=np.asarray(unseen.labels)[:32])
    arguments = ("verify", bundles("int8-npu"), "--data", data, "--latency-runs", "2")
    table = run_command(monkeypatch, capsys, *arguments, "--runtime", "onnxruntime")
    assert table.code == 0 and "onnxruntime" in table.out and "100.0 %" in table.out
    printed = run_command(monkeypatch, capsys, *arguments, "--runtime", "onnxruntime", "--json")
    facts = json.loads(printed.out)
    assert facts["accepted"] == 1 and facts["misses"] == [] and facts["exit_code"] == 0
    assert facts["rows"][0]["simulated"] == {"compared": 320, "different": 0, "largest": 0}


def test_a_runtime_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    bundles: Callable[[str], Path],
) -> None:  # fmt: skip
    arguments = ("verify", bundles("int8-npu"), "--data", "none.npz", "--runtime", "tflight")
    printed = run_command(monkeypatch, capsys, *arguments)
    assert printed.code == 2 and "no runtime has this name" in printed.err


def test_a_page_holds_the_matrix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    bundles: Callable[[str], Path], unseen: Dataset, tmp_path: Path,
) -> None:  # fmt: skip
    data, page = tmp_path / "data.npz", tmp_path / "p.html"
    np.savez(data, x=unseen.inputs["x"][:8], y=np.asarray(unseen.labels)[:8])
    arguments = ("verify", bundles("int8-npu"), "--data", data, "--latency-runs", "1")
    named = ("--runtime", "onnxruntime", "--html")
    assert run_command(monkeypatch, capsys, *arguments, *named, page).code == 0
    assert "1 of 1 runtimes accept the bundle" in page.read_text()
    refused = run_command(monkeypatch, capsys, *arguments, *named, tmp_path / "no" / "p.html")
    assert refused.code == 2 and not (tmp_path / "no").exists()


def test_an_export_holds_the_files_of_runtimes(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset, tmp_path: Path
) -> None:
    prepared = make_prepared("int8-npu")
    bundle = pipeline.export(prepared, tmp_path / "b", calibration, runtimes="litert,qnn-htp")
    files = {file.path for file in bundle.files}
    assert {"model.tflite", "model.qnn.onnx"} <= files
    facts: Any = bundle.facts["runtimes"]
    assert facts["litert"] == {"file": "model.tflite", "left_out": None}


def test_a_runtime_that_cannot_say_a_network_is_left_out_unless_it_was_named(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset, tmp_path: Path
) -> None:
    prepared = make_prepared("lowbit-vlsi")
    bundle = pipeline.export(prepared, tmp_path / "b", calibration, runtimes="all")
    facts: Any = bundle.facts["runtimes"]
    assert facts["litert"]["left_out"]["rule"] and facts["onnxruntime"]["left_out"] is None
    assert not (tmp_path / "b" / "model.tflite").exists()
    with pytest.raises(UnsupportedError):
        pipeline.export(prepared, tmp_path / "c", calibration, runtimes="litert")
    assert not (tmp_path / "c").exists()


def test_a_verification_models_the_latency_of_the_target(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    bundles: Callable[[str], Path], unseen: Dataset, tmp_path: Path,
) -> None:  # fmt: skip
    data = tmp_path / "data.npz"
    np.savez(data, x=unseen.inputs["x"][:64], y=np.asarray(unseen.labels)[:64])
    few = ("--latency-runs", "2", "--min-codes", "1000", "--min-distinct", "1")
    for target, label in (("int8-npu", "modelled from the profile, not measured"), ("ort-cpu", "")):
        arguments = ("verify", bundles(target), "--data", data, *few)
        modelled = json.loads(run_command(monkeypatch, capsys, *arguments, "--json").out)[
            "modelled"
        ]
        assert (modelled["label"] if label else modelled) == (label or None)
        printed = run_command(monkeypatch, capsys, *arguments).out
        assert ("latency of one sample on int8-npu" in printed) is bool(label)
        if label:
            assert modelled["cycles"] == sum(layer["total"] for layer in modelled["layers"]) > 0
            assert {layer["bound"] for layer in modelled["layers"]} <= {"compute", "loading",
                    "weights", "activations", "output"}  # fmt: skip


@pytest.mark.parametrize("refused", [False, True])
def test_an_export_keeps_what_a_compiler_makes_or_says_why_not(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, refused: bool,
) -> None:  # fmt: skip
    def make(source: Source, content: bytes) -> bytes:
        if refused:
            raise InputError("compiler", "it takes every operator", found="Erf")
        return content[:4]

    name, adapter = "onnxruntime", ADAPTERS["onnxruntime"]
    own = replace(adapter, compiled=Compiled("model.bin", make))
    monkeypatch.setattr(packages, "find_adapters", lambda names: (own,))
    monkeypatch.setattr(packages, "compile_isolated", compile_here)  # no process knows this one
    prepared = make_prepared("int8-npu")
    bundle = pipeline.export(prepared, tmp_path / "b", calibration, runtimes=name)
    facts: Any = bundle.facts["runtimes"]
    compiled = facts[name]["compiled"]
    assert compiled["made_by"] == f"onnxruntime {presence(adapter).version}"
    assert (tmp_path / "b" / "model.bin").exists() is not refused
    assert [file.path for file in bundle.files].count("model.bin") == (not refused)
    (line,) = left_out(bundle) or [""]
    assert line == ("no model.bin: compiler: it takes every operator: Erf" if refused else "")


def test_a_compiler_that_is_missing_leaves_its_file_out(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    gone = replace(
        ADAPTERS["onnxruntime"], distribution="deployq-none",
        compiled=Compiled("model.bin", lambda source, content: b""),
    )  # fmt: skip
    monkeypatch.setattr(packages, "find_adapters", lambda names: (gone,))
    prepared = make_prepared("int8-npu")
    bundle = pipeline.export(prepared, tmp_path / "b", calibration, runtimes="onnxruntime")
    facts: Any = bundle.facts["runtimes"]
    assert facts["onnxruntime"]["left_out"] is None
    assert facts["onnxruntime"]["compiled"]["left_out"]["found"] == "not installed"
    assert not (tmp_path / "b" / "model.bin").exists()


def test_the_arithmetic_of_litert_goes_by_the_width_of_activations() -> None:
    eight, sixteen = (load_profile(name) for name in ("int8-npu", "litert-16x8"))
    unnamed = sixteen.model_copy(update={"verify": eight.verify})
    contract = ADAPTERS["litert"].contract
    assert [contract(profile) for profile in (eight, sixteen, unnamed)] == [
        "litert-xnnpack", "litert-16x8", "litert-16x8-optimized",
    ]  # fmt: skip
