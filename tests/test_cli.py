"""The command line as a user has it: a process, its output, its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deployq.data import Dataset

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    roots = [str(Path(p).resolve()) for p in (".", "targets", "calibration", "exporters")]

    def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deployq", *map(str, arguments)]
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": ":".join(roots), "OMP_NUM_THREADS": "1"},  # tests run side by side
        )
        assert result.returncode == code, result.stderr
        return result

    return run


def test_export_verify_simulate(
    run: Run, digits_pt2: Path, calib_npz: Path, test_npz: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    options = ("--target", "int4-npu", "--calib", calib_npz, "--iterations", "20")
    export = run("export", digits_pt2, *options, "-o", bundle)
    facts = json.loads((bundle / "manifest.json").read_text())["facts"]
    assert facts["calibration"]["corrections"] == ["factors", "rounding", "bias", "tuning"]
    assert {change["correction"] for change in facts["corrections"]} == {
        "rounding",
        "bias",
        "tuning",
    }
    assert "block1.depthwise: Conv weight s4 per channel, BatchNorm absorb" in export.stdout
    wanted = ("--min-images", "100000", "--json")
    thin = run("verify", bundle, "--data", test_npz, "--latency-runs", "2", *wanted, code=1)
    facts = json.loads(thin.stdout)
    assert [p["different"] for p in facts["parities"] if p["judged"] == "exact"] == [0] * 4
    assert all("wanted" in miss for miss in facts["misses"]) and facts["accuracy"]["runtime"] > 0.9
    good = run("verify", bundle, "--data", test_npz, "--latency-runs", "2")
    assert "100.0 % of the multiply-accumulates in integer kernels" in good.stdout
    codes = tmp_path / "codes.npz"
    simulated = run("simulate", bundle, "--input", test_npz, "--sums", "-o", codes, "--json")
    facts = json.loads(simulated.stdout)
    assert facts["outputs"] == {"head": [797, 10]} and facts["floats"] == []
    with np.load(codes) as arrays:
        sums = {name.removeprefix("sums/"): arrays[name] for name in arrays if "sums/" in name}
    assert {n: s["shape"] for n, s in facts["sums"].items()} == {
        n: [*s.shape] for n, s in sums.items()
    }
    assert (
        set(sums) < set(facts["codes"])
        and sums["stem.codes"].max() == facts["sums"]["stem.codes"]["max"]
    )


def test_observers_are_chosen_by_name(
    run: Run, digits_pt2: Path, calib_npz: Path, tmp_path: Path
) -> None:
    options = ("export", digits_pt2, "-t", "int8-npu", "--calib", calib_npz, "-o", tmp_path / "b")
    chosen = ("--observer", "percentile:99.9", "--weight-observer", "minmax", "--json")
    facts = json.loads(run(*options, *chosen).stdout)["facts"]["calibration"]
    assert (facts["activations"], facts["weights"]) == ("percentile:99.9", "minmax")
    for option in ("--observer", "--weight-observer"):
        refused = run(*options, option, "percentile:20", code=2).stderr
        assert "found: percentile:20" in refused and "Traceback" not in refused


def test_a_prepared_model_is_exported_again_byte_identical(
    run: Run, bundles: Callable[[str], Path], calib_npz: Path, tmp_path: Path
) -> None:
    source = bundles("ort-cpu")
    run(
        "export",
        source,
        "--target",
        "ort-cpu",
        "--calib",
        calib_npz,
        "-o",
        tmp_path / "b",
        "--json",
    )
    run("export", source, "--calib", calib_npz, "-o", tmp_path / "c")  # for its own target
    for name in ("model.onnx", "model.onnxruntime.onnx", "prepared.json", "prepared.safetensors"):
        for again in ("b", "c"):
            assert (source / name).read_bytes() == (tmp_path / again / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("export", "missing.pt2", "--target", "int4-npu"),
            "cannot be read|must exist|No such file",
        ),
        (("export", "no.module:net", "--target", "int4-npu"), "No module named 'no'"),
        (("export", "model.bin", "--target", "int4-npu"), "must be a .pt2 or .onnx file"),
        (("export", "missing.onnx", "--target", "int4-npu"), "No such file"),
        (("export", "builtins:dict", "--target", "int4-npu"), "returns a torch.nn.Module"),
        (("export", "missing.pt2", "--target", "int4-npy"), "did you mean|int4-npu, int8-npu"),
    ],
    ids=["no file", "no module", "not a model", "no onnx file", "not a network", "no target"],
)
def test_a_users_mistake_exits_2_without_a_traceback(
    run: Run, calib_npz: Path, arguments: tuple[str, ...], text: str
) -> None:
    import re

    result = run(*arguments, "--calib", calib_npz, "-o", "b", code=2)
    assert re.search(text, result.stderr) and "Traceback" not in result.stderr


def test_errors_are_json_too(run: Run, test_npz: Path, tmp_path: Path) -> None:
    result = run("verify", tmp_path / "nothing", "--data", test_npz, "--json", code=2)
    assert set(json.loads(result.stdout)) == {"error", "where", "rule", "found", "allowed", "next"}


def test_usage_errors_exit_2(run: Run) -> None:
    assert "Missing option" in run("export", "x.pt2", code=2).stderr


def test_version(run: Run) -> None:
    assert run("--version").stdout.strip().count(".") == 2


def test_unknown_widths_are_refused(run: Run, digits_pt2: Path, calib_npz: Path) -> None:
    result = run(
        "export", digits_pt2, "--target", "int4-npu", "--calib", calib_npz, "-o", "b",
        "--weight-bits", "5", code=2,
    )  # fmt: skip
    assert "weight.bits" in result.stderr and "4, 8" in result.stderr


def test_unknown_corrections_are_refused(run: Run, digits_pt2: Path, calib_npz: Path) -> None:
    options = ("--target", "int4-npu", "--calib", calib_npz, "-o", "b", "--corrections", "bias,cle")
    result = run("export", digits_pt2, *options, code=2)
    assert (
        "found: cle" in result.stderr
        and "equalization, factors, rounding, bias, tuning, none" in result.stderr
    )


def test_options_for_a_prepared_model_are_refused(
    run: Run, bundles: Callable[[str], Path], calib_npz: Path
) -> None:
    source = bundles("ort-cpu")
    options = ("--target", "ort-cpu", "--calib", calib_npz, "-o", "b")
    result = run("export", source, *options, "--weight-bits", "8", code=2)
    assert "exported as it is" in result.stderr
    result = run("export", source, *options[2:], "--target", "int4-npu", code=2)
    assert "prepared for" in result.stderr


def test_a_foreign_folder_is_refused_first(
    run: Run, digits_pt2: Path, calib_npz: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    options = ("--target", "int4-npu", "--calib", calib_npz, "-o", "mine")
    result = run("export", digits_pt2, *options, code=2)
    assert (tmp_path / "mine/notes.txt").read_text() == "keep" and "calibrate" not in result.stderr


def test_a_place_that_takes_no_folder_is_refused_first(
    run: Run, digits_pt2: Path, calib_npz: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("keep")
    options = ("--target", "int4-npu", "--calib", calib_npz, "-o", "notes.txt/deep/bundle")
    result = run("export", digits_pt2, *options, code=2)
    assert "notes.txt is a file" in result.stderr and "calibrate" not in result.stderr


@pytest.mark.parametrize(("samples", "said"), [(3, True), (32, False)])
def test_few_calibration_samples_are_said(
    run: Run, digits_pt2: Path, calibration: Dataset, tmp_path: Path, samples: int, said: bool
) -> None:
    np.savez(tmp_path / "few.npz", x=calibration.inputs["x"][:samples])
    options = ("--target", "int4-npu", "--calib", "few.npz", "--iterations", "1", "-o", "bundle")
    found = run("export", digits_pt2, *options).stderr
    assert (f"calibrated on {samples} samples: others leave the ranges" in found) == said


def test_simulate_refuses_what_it_cannot_write_or_read(
    run: Run, bundles: Callable[[str], Path], calib_npz: Path, tmp_path: Path
) -> None:
    bundle = bundles("int4-npu")
    assert ".npz" in run("simulate", bundle, "-i", calib_npz, "-o", "c.txt", code=2).stderr
    assert "writable" in run("simulate", bundle, "-i", calib_npz, "-o", "no/c.npz", code=2).stderr
    bare = run("simulate", bundle / "model.onnx", "-i", calib_npz, code=2)
    assert "name a target" in bare.stderr
    assert "next:" in run("simulate", "nothing", "-i", calib_npz, "-t", "ort-cpu", code=2).stderr
    np.savez(tmp_path / "wrong.npz", x=np.zeros((2, 1, 9, 9), np.float32))
    wrong = run("simulate", bundle, "-i", tmp_path / "wrong.npz", code=2)
    assert "9, 9" in wrong.stderr and "8, 8" in wrong.stderr


def test_verify_refuses_what_is_no_bundle(run: Run, test_npz: Path, tmp_path: Path) -> None:
    result = run("verify", tmp_path, "--data", test_npz, code=2)
    assert "bundle" in result.stderr and "Traceback" not in result.stderr


def test_inspect(run: Run, bundles: Callable[[str], Path], tmp_path: Path) -> None:
    shown = run("inspect", bundles("int4-npu")).stdout
    assert "block1.depthwise" in shown and "s4[-7,7]" in shown and "100.0 % of them" in shown
    facts = json.loads(run("inspect", bundles("int4-npu") / "model.onnx", "--json").stdout)
    assert facts["target"] is None and facts["macs"] > 10**5
    assert "next:" in run("inspect", tmp_path, code=2).stderr


def test_verify_writes_a_page(
    run: Run, bundles: Callable[[str], Path], unseen: Dataset, tmp_path: Path
) -> None:
    page, few = tmp_path / "report.html", unseen.take(64)
    np.savez(tmp_path / "few.npz", x=few.inputs["x"], y=few.labels)
    verify = ("verify", bundles("int4-npu"), "--data", tmp_path / "few.npz", "--latency-runs", "2")
    verify = (*verify, "--min-codes", "1", "--min-distinct", "1")
    facts = json.loads(run(*verify, "--html", page, "--json").stdout)
    text = page.read_text(encoding="utf-8")
    assert "No difference found" in text and "block2.pointwise" in text
    assert f"{100 * facts['accuracy']['runtime']:.2f} %" in text
    assert [len(facts["latency"][key]) for key in ("samples_ms", "float_samples_ms")] == [2, 2]
    assert facts["layers"]["samples"] == 64 and len(facts["layers"]["sqnr"]) == 10
    refused = run(*verify, "--html", tmp_path / "no/report.html", code=2)
    assert "no such folder" in refused.stderr and "accuracy" not in refused.stderr
