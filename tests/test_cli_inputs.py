"""Inputs as a user names them on the command line: files, flags, deployq.toml, exit codes."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from deployq.cli import main
from deployq.data import Dataset
from examples.digits import DigitsNet

pytest.importorskip("PIL", reason="images need the extra deployq[images]")
from PIL import Image

Run = Callable[..., "Result"]
FEW = ("--min-images", "1", "--min-codes", "1", "--min-distinct", "1", "--latency-runs", "1")

TOML = """
target = "int4-npu"
calib = "images.zip"
data = "images"
weights = "w.pt"
iterations = 20
[preprocessing]
scale = "x/16"
channels = "gray"
"""

CODE = """
import numpy as np
def accuracy(outputs, inputs, labels):
    return float((next(iter(outputs.values())).argmax(1) == labels).mean())
def data():
    with np.load("test.npz") as arrays:
        return dict(arrays)
"""


@dataclass(frozen=True)
class Result:
    stdout: str
    stderr: str


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The entry point in this process, in the user's folder; test_cli.py has it as a process."""
    monkeypatch.syspath_prepend(Path().resolve())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main() sets its own
    monkeypatch.delitem(sys.modules, "own", raising=False)

    def run(*arguments: str | Path, code: int = 0) -> Result:
        monkeypatch.setattr(sys, "argv", ["deployq", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        assert (ended.value.code or 0) == code, shown.err
        assert "Traceback" not in shown.err
        return Result(shown.out, shown.err)

    return run


@pytest.fixture
def project(tmp_path: Path, digits_net: DigitsNet, unseen: Dataset) -> Path:
    """A user's folder: images by class, the same in a .zip, arrays, weights, code, settings."""
    few = unseen.take(96)
    assert few.labels is not None
    pixels = np.round(few.inputs["x"] * 16).astype(np.uint8)
    for index, (image, label) in enumerate(zip(pixels, few.labels, strict=True)):
        path = tmp_path / f"images/{label}/{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
    shutil.make_archive(str(tmp_path / "images"), "zip", tmp_path / "images")
    np.savez(tmp_path / "test.npz", x=few.inputs["x"], y=few.labels)
    state = {f"module.{key}": tensor for key, tensor in digits_net.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "deployq.toml").write_text(TOML)
    return tmp_path


NET = "examples.digits:DigitsNet"


def test_a_project_with_its_settings_needs_no_flags(run: Run, project: Path) -> None:
    export = run("export", NET, "-o", "bundle", "--json")
    assert "note: w.pt: the prefix 'module.' of every key is removed" in export.stderr
    facts = json.loads(export.stdout)["facts"]
    assert facts["target"] == "int4-npu" and facts["calibration"]["samples"] == 96
    assert facts["preprocessing"]["scale"] == "x/16"
    images = json.loads(run("verify", "bundle", *FEW, "--json").stdout)
    arrays = json.loads(run("verify", "bundle", "--data", "test.npz", *FEW, "--json").stdout)
    assert images["metric"]["name"] == "top-1" and images["accuracy"]["runtime"] > 0.9
    assert images["accuracy"] == arrays["accuracy"]  # the same images, in another order
    (project / "deployq.toml").unlink()  # the bundle knows its preprocessing
    own = run("verify", "bundle", "--data", "images", *FEW, "--metric", "own:accuracy", "--json")
    assert json.loads(own.stdout)["accuracy"] == images["accuracy"]
    shown = run("verify", "bundle", "--data", "own:data", *FEW, "--metric", "output-difference")
    alike = [json.loads(run("simulate", "bundle", "--input", data, "--json").stdout)
             for data in ("images", "test.npz", "own:data")]  # fmt: skip
    assert alike[0] == alike[1] == alike[2] and alike[0]["outputs"] == {"head": [96, 10]}
    bare = run("simulate", "bundle/model.onnx", "-t", "int4-npu", "--input", "images", code=2)
    assert "preprocessing" in bare.stderr
    assert "output-difference over 96 images" in shown.stdout and "max |difference|" in shown.stdout


def test_flags_win_over_the_file(run: Run, project: Path) -> None:
    flags = ("--target", "ort-cpu", "--calib", "test.npz", "--weight-bits", "8")
    facts = json.loads(run("export", NET, "-o", "b", *flags, "--json").stdout)["facts"]
    assert facts["target"] == "ort-cpu" and "preprocessing" not in facts


def change(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("target =", "targets =", "did you mean target?"),
        ('target = "int4-npu"', "", "no --target, and no target in deployq.toml"),
        ('calib = "images.zip"', "", "no --calib, and no calib in deployq.toml"),
        ('"x/16"', '"y/16"', "preprocessing.scale"),
        ('[preprocessing]\nscale = "x/16"\nchannels = "gray"', "", "never guessed"),
        ('channels = "gray"', "", "(N, 1, 8, 8)|channels"),
        ('"images.zip"', '"empty"', "there are images"),
        ('"images.zip"', '"nothing.npz"', "No such file"),
        ('"images.zip"', '"shape.npz"', "traceable by torch.export"),
        ('"images.zip"', '"nan.npz"', "nan at index (0, 0, 0, 0)"),
        ('"images.zip"', '"none.npz"', "number of samples"),
        ('"w.pt"', '"missing.pt"', "missing: stem.weight; unexpected: none"),
        ('"w.pt"', '"nan.pt"', "NaN or infinity in head.bias (10 of 10)"),
        ('"w.pt"', '"nothing.pt"', "No such file"),
    ],
)
def test_bad_input_exits_2_and_writes_nothing(
    old: str, new: str, text: str, run: Run, project: Path
) -> None:
    x, state = np.zeros((4, 1, 8, 8), np.float32), DigitsNet().state_dict()
    np.savez(project / "shape.npz", x=x[:, :, 0])
    np.savez(project / "nan.npz", x=x + np.nan)
    np.savez(project / "none.npz", x=x[:0])
    (project / "empty").mkdir()
    torch.save(state | {"head.bias": state["head.bias"] * np.nan}, project / "nan.pt")
    del state["stem.weight"]
    torch.save(state, project / "missing.pt")
    change(project / "deployq.toml", old, new)
    before = sorted(path.name for path in project.iterdir())
    result = run("export", NET, "-o", "bundle", code=2)
    assert any(part in result.stderr for part in text.split("|")), result.stderr
    assert "next: " in result.stderr
    assert sorted(path.name for path in project.iterdir() if path.name != "__pycache__") == before


def test_verify_refuses_before_the_long_comparison(
    run: Run, project: Path, bundles: Callable[[str], Path]
) -> None:
    bundle = bundles("int4-npu")
    (project / "wide.csv").write_text(
        "file,label\n0/" + next((project / "images/0").iterdir()).name
    )
    change(project / "wide.csv", ".png", ".png,10")
    arguments = ("verify", bundle, "--config", "deployq.toml", *FEW)
    cases = {
        ("--metric", "top1"): "did you mean top-1?",
        ("--metric", "auc"): "auc tells two classes apart",
        ("--metric", "own:nothing"): "has no attribute 'nothing'",
        ("--labels", "wide.csv"): "10..10 for an output of shape (1, 10)",
        ("--labels", "nothing.csv"): "cannot read the labels file",
        ("--crop", "9"): "an image is at least as large as the crop",
        ("--mean", "a"): "numbers with commas between them",
    }
    for flags, text in cases.items():
        result = run(*arguments, *flags, code=2)
        assert text in result.stderr and "reference = simulator" not in result.stderr
    without = run("verify", bundle, *FEW, code=2)
    assert "no --data, and no deployq.toml beside the model" in without.stderr
