"""``deployq diff`` as a user has it: notation, output, exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.commands import Ran, run_command
from tests.divergence.planted import convs, inputs

DATA = Path(os.environ.get("DEPLOYQ_DATA", Path(__file__).parents[2] / "shared" / "data"))
Run = Callable[..., Ran]

EIGHT = """schema = 1
name = "eight"
summary = "LiteRT's arithmetic with a short multiplier"
extends = "litert-ref"

[requant]
rounding = "half_away"
multiplier_bits = 8
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: run_command(monkeypatch, capsys, "diff", *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file, one without its Relu, a profile, and samples."""
    made = tmp_path_factory.mktemp("diff")
    onnx.save(convs(), made / "model.onnx")
    onnx.save(convs(""), made / "dropped.onnx")
    (made / "eight.toml").write_text(EIGHT)
    (made / "long.toml").write_text(EIGHT.replace("= 8", "= 31").replace("eight", "long"))
    np.savez(made / "x.npz", **inputs())
    return made


def test_sides_that_agree(run: Run, folder: Path) -> None:
    model, data = folder / "model.onnx", folder / "x.npz"
    out, _, code = run(f"file:{model}", f"file:{model}", "--input", data)
    assert code == 0
    assert f"A = file:{model}, B = file:{model} (8 samples)" in out
    assert "no difference in 4,608 codes (tensors: 3, samples: 8)" in out


def test_codes_that_cannot_be_read_as_deployed_are_named(run: Run, folder: Path) -> None:
    """Reading inner codes keeps ONNX Runtime from moving signed codes to its unsigned kernels."""
    data = folder / "x.npz"
    out, _, code = run(folder / "dropped.onnx", "sim@ort-cpu", "deployed", "--input", data)
    assert code == 0
    assert "dropped.onnx would run in other kernels if its codes were read: a, h" in out
    assert "no difference in 1,024 codes (tensors: 1, samples: 8)" in out


def test_sides_that_differ(run: Run, folder: Path) -> None:
    model, data = folder / "model.onnx", folder / "x.npz"
    out, _, code = run(f"sim:{model}@{folder}/long.toml", f"sim:{model}@{folder}/eight.toml",
                       "--input", data, "--layers", "2")  # fmt: skip
    assert code == 1
    assert "first difference: h (Conv v1), fed A's codes" in out
    assert "cause: multiplier width\n  multiplier width: a mantissa of 8 bits\n" in out
    assert "with this one change gives every code of" in out and "next difference: c" in out


def test_json(run: Run, folder: Path) -> None:
    sides = (f"sim:{folder}/model.onnx@onnx-qdq", f"sim:{folder}/dropped.onnx@onnx-qdq")
    out, _, code = run(*sides, "--input", folder / "x.npz", "--json")
    facts = json.loads(out)
    assert code == 1 and facts["first"] == "h" and facts["compared"] == 4608
    row = facts["tensors"][1]
    assert {"different", "share", "max_lsb", "sqnr_db"} == row["free"].keys() == row["fed"].keys()
    assert row["free"]["share"] == row["free"]["different"] / row["compared"]
    (explanation,) = facts["explanations"]
    assert explanation["verdict"] == "runtime fusion"
    assert explanation["shown"][0]["change"] == "Relu or Clip dropped"


def test_an_unknown_cause(run: Run, folder: Path, tmp_path: Path) -> None:
    onnx.save(convs(pads="0,0,2,2"), tmp_path / "shifted.onnx")
    sides = (f"sim:{folder}/model.onnx@onnx-qdq", f"sim:{tmp_path}/shifted.onnx@onnx-qdq")
    out, _, code = run(*sides, "--input", folder / "x.npz")
    assert code == 1 and "cause: unknown; none of " in out
    out, _, code = run(*sides, "--input", folder / "x.npz", "--layers", "0")
    assert code == 1 and "first difference: h" in out and "cause:" not in out


def test_tensors_that_are_not_compared_are_named(run: Run, folder: Path, tmp_path: Path) -> None:
    onnx.save(convs(sc=np.float32(0.5)), tmp_path / "other.onnx")
    sides = (f"sim:{folder}/model.onnx@onnx-qdq", f"sim:{tmp_path}/other.onnx@onnx-qdq")
    out, _, code = run(*sides, "--input", folder / "x.npz")
    assert code == 1
    assert "not compared, scales 0.109999999 and 0.5: c" in out
    assert "difference: other scales of c\nno difference in 3,584 codes (tensors: 2" in out


@pytest.mark.parametrize(("sides", "text"), [
    (("missing.onnx", "file", "deployed"), "missing.onnx"),
    (("model.onnx", "file", "runtime"), "a side says how it computes"),
    (("model.onnx", "file"), "a side says how it computes"),
    (("model.onnx", "sim", "file"), "name a target"),
    (("model.onnx", "sim@nix", "file"), "nix"),
    (("model.onnx", "reference", "file"), "model.onnx"),
])  # fmt: skip
def test_what_cannot_run(
    run: Run, folder: Path, sides: tuple[str, ...], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    _, err, code = run(*sides, "--input", folder / "x.npz")
    assert code == 2 and text in err and "Traceback" not in err


def test_inputs_that_are_none(run: Run, folder: Path) -> None:
    _, err, code = run(folder / "model.onnx", "file", "deployed", "--input", folder / "nix.npz")
    assert code == 2 and "nix.npz" in err and "Traceback" not in err


@pytest.mark.skipif(
    not (DATA / "onnx_thirdparty").is_dir(), reason=f"no third-party models in {DATA}"
)
def test_files_of_other_tools(run: Run, tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    file = DATA / "onnx_thirdparty/cifar10_tinymobilenet_qoperator.onnx"
    name = onnx.load(file).graph.input[0].name
    np.savez(tmp_path / "x.npz", **{name: images})
    out, _, code = run(file, "sim@ort-cpu", "deployed", "--input", tmp_path / "x.npz", "--json")
    assert code == 0 and json.loads(out)["compared"] > 100_000
    out, _, code = run(file, "sim@ort-cpu", "sim@litert-ref", "-i", tmp_path / "x.npz", "--json")
    assert code == 1 and json.loads(out)["explanations"][0]["verdict"] == "rounding"
    floats = DATA / "onnx_thirdparty/cifar10_tinymobilenet_float.onnx"
    _, err, code = run(floats, "file", "deployed", "--input", tmp_path / "x.npz")
    assert code == 2 and "no integer tensors" in err
