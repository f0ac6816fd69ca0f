"""The command tune: a bundle made better, killed and resumed, several processes, mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

import deployq
from deployq.data import Dataset
from deployq.tune_rendering import print_evolved
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.evolq import Evolved, EvolveSettings
from tests.calibration.test_evolq import Attention, images
from tests.commands import Ran, run_command
from tests.test_cli_train import ENVIRONMENT

FAST = ("--passes", "2", "--batch", "20", "--samples", "60", "--held-back", "0.3")
TEACHERS = ("narrow.pt2", "few.pt2")
"""Of other inputs, and of other outputs."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tune")
    torch.manual_seed(3)
    net = Attention().eval()
    prepared = deployq.prepare(net, [torch.zeros(2, 6, 8)], "int4-npu")
    deployq.calibrate(prepared, images(), CalibrationSettings(corrections=()))
    deployq.save_prepared(prepared, found / "prepared")
    np.savez(found / "calib.npz", **images().inputs)
    save_program(net, torch.zeros(2, 6, 8), found / "net.pt2")
    few = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    for name, other, tokens in zip(TEACHERS, (nn.Linear(4, 5), few), ((4,), (6, 8)), strict=True):
        example = torch.zeros(2, *tokens)
        save_program(other.eval(), example, found / name)
    return found


def save_program(net: nn.Module, example: Tensor, path: Path) -> None:
    program = torch.export.export(net, (example,), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str | Path) -> Ran:
        return run_command(monkeypatch, capsys, "tune", *arguments)

    return run


def tensors(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def same(a: Path, b: Path) -> bool:
    left, right = tensors(a), tensors(b)
    return left.keys() == right.keys() and all(np.array_equal(left[n], right[n]) for n in left)


def test_a_search_from_the_command_line_to_a_bundle(folder: Path, run: Any, tmp_path: Path) -> None:
    ran = run(folder / "prepared", "-o", tmp_path / "tuned", "--calib", folder / "calib.npz",
              *FAST, "--json")  # fmt: skip
    facts = json.loads(ran.out)
    assert ran.code == 0 and facts["after"] < facts["before"] and len(facts["held_back"]) == 3
    assert not same(folder / "prepared", tmp_path / "tuned")
    tuned = deployq.load_prepared(tmp_path / "tuned")
    deployq.export(tuned, tmp_path / "bundle", Dataset(images().inputs))
    assert (tmp_path / "bundle/model.onnx").is_file()


def test_codes_that_stay_need_a_teacher(folder: Path, run: Any, tmp_path: Path) -> None:
    frozen = (folder / "prepared", "-o", tmp_path / "t", "--calib", folder / "calib.npz", *FAST,
              "--codes", "frozen")  # fmt: skip
    refused = run(*frozen)
    assert refused.code == 2 and "teacher: " in refused.err and not (tmp_path / "t").exists()
    ran = run(*frozen, "--teacher", folder / "net.pt2")
    assert ran.code == 0 and "held back" in ran.out and "searched" in ran.out


@pytest.mark.parametrize(("arguments", "said"), [
    (("--population", "0"), "population"), (("--batch", "50"), "calibration data"),
    (("--block", "none.*"), "blocks"), (("--order", "up"), "order"),
    (("--arithmetic", "wish"), "arithmetic"), (("--teacher", "nothing.pt2"), "nothing.pt2"),
    (("--held-back", "0.99"), "held_back"), (("--seed", str(1 << 70)), "seed"),
    (("--tau", "inf"), "tau"), (("--racing", "-1"), "racing"), (("--checkpoint", "."), "a folder"),
    (("--patience", "1", "--held-back", "0"), "patience"), (("--teacher", "narrow.pt2"), "teacher"),
    (("--teacher", "few.pt2"), "outputs of [[3]]"), (("--device", "meta"), "--device: a device is"),
    (("--device", "gpu"), "'gpu'"), (("--together", "0"), "together"),
])  # fmt: skip
def test_mistakes_end_with_2_and_write_nothing(
    folder: Path, run: Any, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    there = (str(folder / a) if a in TEACHERS else a for a in arguments)
    ran = run(folder / "prepared", "-o", tmp_path / "t", "--calib", folder / "calib.npz", *FAST,
              *there)  # fmt: skip
    assert ran.code == 2 and said in ran.err and "next:" in ran.err and "Traceback" not in ran.err
    assert not (tmp_path / "t").exists()


def test_what_lies_at_the_paths_is_looked_at_first(folder: Path, run: Any, tmp_path: Path) -> None:
    bundle, file = tmp_path / "bundle", tmp_path / "file"
    deployq.export(deployq.load_prepared(folder / "prepared"), bundle, images())
    before = (bundle / "manifest.json").read_bytes()
    file.write_text("mine")
    calib = ("--calib", folder / "nothing.npz")  # data would be read later
    for model, more, said in (
        (bundle, ("-o", bundle), "a bundle"), (folder / "prepared", ("-o", bundle), "a bundle"),
        (folder / "prepared", ("-o", file), "a file"),
        (folder / "prepared", ("-o", file / "in"), "which is a file"),
        (folder / "prepared", ("-o", tmp_path / "t", "--checkpoint", tmp_path), "a folder"),
    ):  # fmt: skip
        ran = run(model, *more, *calib)
        assert ran.code == 2 and said in ran.err and "next:" in ran.err
    assert file.read_text() == "mine" and (bundle / "manifest.json").read_bytes() == before
    deployq.verify(bundle, images(), latency_runs=1)


def test_after_patience_the_table_shows_the_scales_that_were_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    patient = EvolveSettings(patience=1)
    found = Evolved(3.0, 1.0, (3.5, 1.25, 1.75), (), ("a",), 1, 1, "1 passes", patient, 1.25)
    print_evolved(found, Path("tuned"))
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "held back" in line]
    assert "1.250000" in row and "1.750000" not in row


def test_no_model_ends_with_2(folder: Path, run: Any, tmp_path: Path) -> None:
    ran = run(tmp_path, "-o", tmp_path / "t", "--calib", folder / "calib.npz")
    assert ran.code == 2 and "prepared" in ran.err
    ran = run(folder / "net.pt2", "-o", tmp_path / "t", "--calib", folder / "calib.npz")
    assert ran.code == 2 and "a prepared model is a folder\n  found: a file" in ran.err


def command(folder: Path, output: Path, *more: str | Path) -> list[str]:
    return [*map(str, ("-m", "deployq", "tune", folder / "prepared", "-o", output, "--calib",
                       folder / "calib.npz", *FAST, *more))]  # fmt: skip


def test_killed_in_the_middle_and_resumed(folder: Path, run: Any, tmp_path: Path) -> None:
    checkpoint, more = tmp_path / "search", ("--passes", "6")
    killed = [sys.executable, *command(folder, tmp_path / "a", "--checkpoint", checkpoint, *more)]
    process = subprocess.Popen(killed, env=os.environ | ENVIRONMENT, stderr=subprocess.DEVNULL)
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "a").exists()
    arguments = ("--calib", folder / "calib.npz", *FAST, *more)
    resumed = run(folder / "prepared", "-o", tmp_path / "a", *arguments, "--checkpoint", checkpoint)
    whole = run(folder / "prepared", "-o", tmp_path / "b", *arguments)
    assert (resumed.code, whole.code) == (0, 0) and same(tmp_path / "a", tmp_path / "b")


def test_two_processes_find_the_same_scales(folder: Path, run: Any, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, *command(folder, tmp_path / "two")], env=os.environ | ENVIRONMENT,
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pass 1, ") <= 2  # attention blocks, told by the first process
    alone = run(folder / "prepared", "-o", tmp_path / "one", "--calib", folder / "calib.npz", *FAST)
    assert alone.code == 0 and same(tmp_path / "one", tmp_path / "two")
