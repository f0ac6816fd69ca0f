"""The command train: killed and resumed, several processes, exit codes, the example recipes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from torch import nn

import deployq
from examples.digits_data import write_images
from tests.commands import Ran, run_command
from tests.train.recipes import write_data, write_network, write_recipe

RECIPES = Path(__file__).parents[1] / "examples/recipes"
ROOTS = [str(Path(p).resolve()) for p in (".", "targets", "calibration", "exporters")]
ENVIRONMENT = {"PYTHONPATH": ":".join(ROOTS), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("recipes")
    write_network(found / "plain.pt2")
    write_network(found / "norm.pt2", nn.BatchNorm2d(4))
    write_data(found)
    return found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str | Path) -> Ran:
        return run_command(monkeypatch, capsys, "train", *arguments)

    return run


def taken(output: Path) -> int:
    """Optimizer steps of the checkpoint that lies there now; -1 for none."""
    try:
        text = (output / "checkpoint/training.json").read_text()
    except FileNotFoundError:
        return -1
    return int(json.loads(text)["position"]["taken"])


def test_killed_in_an_epoch_and_resumed(run: Any, folder: Path, tmp_path: Path) -> None:
    text = "[schedule]\nepochs = 4\n[augmentation]\nflip = true"
    keys = {"model": "norm.pt2", "batch_size": 2, "checkpoint_steps": 5}
    recipe = write_recipe(folder, "killed", text, **keys)
    command = [sys.executable, "-m", "deployq", "train", str(recipe), "-o", str(tmp_path / "b")]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
        while taken(tmp_path / "b") < 10 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert taken(tmp_path / "b") < 4 * 32  # before the end
    resumed = run(recipe, "-o", tmp_path / "b", "--resume")
    assert resumed.code == 0 and "deployq export" in resumed.out
    assert run(recipe, "-o", tmp_path / "a").code == 0
    assert (tmp_path / "a/metrics.jsonl").read_text() == (tmp_path / "b/metrics.jsonl").read_text()
    for name in ("prepared", "last"):
        files = [tmp_path / side / name / "prepared.safetensors" for side in "ab"]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_two_processes_are_one_with_the_joined_batch(
    run: Any, folder: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(folder, "ranks", "[optimizer]\nrate = 0.05", target="lowbit-vlsi")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "-m", "deployq", "train", str(recipe), "-o", str(tmp_path / "two")]  # fmt: skip
    ran = subprocess.run(
        [sys.executable, *command], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("optimizer steps") == 1  # the first process alone prints
    assert run(recipe, "-o", tmp_path / "one").code == 0
    one, two = (load_file(tmp_path / n / "last/prepared.safetensors") for n in ("one", "two"))
    for name, tensor in one.items():
        # sums of a batch in two halves: float32 rounding, over eight steps
        assert np.linalg.norm(two[name] - tensor) <= 1e-6 * np.linalg.norm(tensor), name


@pytest.mark.parametrize("method", ["qat", "saq", "sam", "sqwa"])
def test_example_recipes(
    method: str, run: Any, digits_pt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(digits_pt2, tmp_path / "digits.pt2")
    shutil.copy(RECIPES / f"{method}.toml", tmp_path)
    write_images(tmp_path)
    ran = run(tmp_path / f"{method}.toml", "-o", tmp_path / "run", "--json")
    facts = json.loads(ran.out)
    assert ran.code == 0 and facts["validation"]["accuracy"] > 0.9 and facts["diverged"] is None
    assert deployq.load_prepared(tmp_path / "run/prepared").plan.layers
    assert ran.err.count("epoch ") == len((tmp_path / "run/metrics.jsonl").open().readlines())


def test_divergence_exits_1(run: Any, folder: Path, tmp_path: Path) -> None:
    text = "[optimizer]\nrate = 1e30\nmomentum = 0\nnesterov = false"
    ran = run(write_recipe(folder, text=text), "-o", tmp_path / "run")
    assert ran.code == 1 and "stopped: " in ran.out and "checkpoint: the last good" in ran.out
    assert taken(tmp_path / "run") == 0


def test_every_key_is_printed(run: Any) -> None:
    assert "batch_size = 128  # Samples of one optimizer step" in run("--print-recipe").out
    schema = json.loads(run("--print-recipe", "--json").out)
    assert schema["properties"]["clip_norm"]["default"] == 0.0


@pytest.mark.parametrize(
    ("text", "flags", "expected"),
    [
        ("[data]\ntrain = 'train.npz'\nvalid = 'v'", [], "no such key"),
        ("[data]\ntrain = 'train.npz'\nvalidation = 'none.npz'", [], "none.npz"),
        ("", ["--resume"], "found: none"),
    ],
)
def test_mistakes_exit_2(
    text: str, flags: list[str], expected: str, run: Any, folder: Path, tmp_path: Path
) -> None:
    ran = run(write_recipe(folder, text=text), "-o", tmp_path / "run", *flags)
    assert ran.code == 2 and expected in ran.err and "Traceback" not in ran.err


def test_a_run_is_not_written_over_a_file(run: Any, folder: Path) -> None:
    ran = run(write_recipe(folder), "-o", folder / "plain.pt2")
    assert ran.code == 2 and "found: a file" in ran.err and "Traceback" not in ran.err


def test_a_recipe_and_a_folder_are_needed(run: Any, tmp_path: Path) -> None:
    assert "found: no recipe" in run("-o", tmp_path).err
    assert "found: no --output" in run("recipe.toml").err
    assert "No such file" in run(tmp_path / "none.toml", "-o", tmp_path).err


def test_tensorboard(
    run: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (write_recipe(folder), "-o", tmp_path / "run", "--tensorboard", tmp_path / "events")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    ran = run(*command)
    assert ran.code == 2 and "pip install deployq[tensorboard]" in ran.err
    written: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            if Path(folder).is_file():
                raise FileExistsError(17, "File exists")
            assert folder == str(tmp_path / "events") and purge_step == 1

        def add_scalar(self, *scalar: Any) -> None:
            written.append(scalar)

        def flush(self) -> None: ...

        def close(self) -> None: ...

    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]  # a stand-in without the package
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    assert run(*command).code == 0
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    ran = run(command[0], "-o", tmp_path / "other", "--tensorboard", tmp_path / "run/metrics.jsonl")
    assert ran.code == 2 and "event files are written into a folder" in ran.err
    assert ("validation_accuracy", json.loads(lines[1])["validation_accuracy"], 2) in written
