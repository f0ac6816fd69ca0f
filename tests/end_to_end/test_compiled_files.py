"""What the tools of Ethos-U and TensorRT make of a bundle's files, kept in the bundle."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployq import packages, pipeline
from deployq.bundle import Bundle, read_bundle
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.jobs import left_out
from deployq.runtimes import compiling
from deployq.runtimes.isolated import Ended, run_isolated
from deployq_exporters.adapters import ADAPTERS, presence

MADE = {"ethos-u": "model_vela.tflite", "tensorrt": "model.tensorrt.plan"}


@pytest.fixture(
    scope="module", params=["ethos-u", pytest.param("tensorrt", marks=pytest.mark.slow)]
)
def exported(
    request: pytest.FixtureRequest, make_prepared: Callable[..., PreparedModel],
    calibration: Dataset, tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Bundle]:  # fmt: skip
    """A runtime, and a bundle with what its compiler makes."""
    name = request.param
    if presence(ADAPTERS[name]).problem:
        pytest.skip(f"{name} is not installed")
    path = tmp_path_factory.mktemp("compiled") / "bundle"
    prepared = make_prepared({"ethos-u": "ethos-u65-512", "tensorrt": "tensorrt"}[name])
    return name, pipeline.export(prepared, path, calibration, runtimes=name)


def test_the_manifest_says_whose_bytes_they_are(exported: tuple[str, Bundle]) -> None:
    name, bundle = exported
    facts: Any = bundle.facts["runtimes"]
    adapter, told = ADAPTERS[name], {"accelerator-config": "ethos-u65-512"}
    assert facts[name]["compiled"] == {
        "file": MADE[name], "made_by": f"{adapter.distribution} {presence(adapter).version}",
        "settings": told if name == "ethos-u" else {}, "reproducible": False, "left_out": None,
    }  # fmt: skip
    (entry,) = [file for file in bundle.files if file.path == MADE[name]]
    assert entry.size > 1000 and len(entry.sha256) == 64


def test_a_damaged_one_is_refused_by_name(exported: tuple[str, Bundle], tmp_path: Path) -> None:
    name, bundle = exported
    for file in bundle.files:
        (tmp_path / file.path).write_bytes((bundle.path / file.path).read_bytes())
    (tmp_path / "manifest.json").write_bytes((bundle.path / "manifest.json").read_bytes())
    read_bundle(tmp_path)
    content = bytearray((tmp_path / MADE[name]).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / MADE[name]).write_bytes(content)
    with pytest.raises(InputError, match=MADE[name].replace(".", r"\.")):
        read_bundle(tmp_path)


def test_a_missing_compiler_is_a_line_and_no_failure(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def missing(adapter: object) -> str:
        raise InputError("runtime", "it is installed", found="not installed", next_step="pip")

    monkeypatch.setattr(packages, "require", missing)
    prepared = make_prepared("tensorrt")
    bundle = pipeline.export(prepared, tmp_path / "b", calibration, runtimes="tensorrt")
    assert {"model.tensorrt.onnx"} <= {file.path for file in bundle.files}
    (line,) = left_out(bundle)
    assert line == "no model.tensorrt.plan: runtime: it is installed: not installed; pip"


@pytest.mark.parametrize(
    ("code", "found"),
    [("import os; os.abort()", "crashed: SIGABRT"), ("raise SystemExit(3)", "failed: exit code 3")],
)
def test_a_compiler_that_dies_is_a_line_too(
    code: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(command: list[str], folder: Path, limit: float) -> Ended:
        return run_isolated([sys.executable, "-c", code], folder, limit)

    monkeypatch.setattr(compiling, "run_isolated", dying)
    told = compiling.compile_isolated(ADAPTERS["ethos-u"], tmp_path)
    assert told is not None and told["found"].startswith(found)
    assert told["where"] == "runtime ethos-u"


def test_a_refusal_of_the_compiler_comes_back_in_its_words(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset, tmp_path: Path
) -> None:
    if presence(ADAPTERS["ethos-u"]).problem:
        pytest.skip("ethos-u is not installed")
    pipeline.export(make_prepared("ethos-u65-512"), tmp_path / "b", calibration, runtimes="litert")
    (tmp_path / "b/model.tflite").write_bytes(b"no such thing")
    told = compiling.compile_isolated(ADAPTERS["ethos-u"], tmp_path / "b")
    assert told is not None and "Vela" in told["rule"] + told["found"]
    assert not (tmp_path / "b/model_vela.tflite").exists()
