"""Runs by a recipe: each method, broken off and resumed, diverged, and what cannot begin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import deployq
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.progress import SilentReporter
from deployq.train import AccumulatorLimit
from deployq.trainer import TrainingResult, loop, train_recipe
from deployq.trainer.checkpoints import write_checkpoint
from deployq.trainer.opening import quantizers
from deployq.trainer.position import Score
from tests.train.recipes import (
    CLASSES,
    SAMPLES,
    SIDE,
    Plain,
    write_data,
    write_network,
    write_recipe,
)

SQWA = "[schedule]\n[sqwa]\nsettle_epochs = 1\ncaptures = 3\nfinetune_epochs = 1"
STAGES = "[schedule]\nepochs = 1\n[[stages]]\nepochs = 1\nweight_bits = 8"
RUNS: dict[str, tuple[dict[str, Any], str, tuple[int, ...]]] = {
    "qat": ({"accumulate": 2, "clip_norm": 1.0}, "[augmentation]\ncrop_padding = 1", (4, 4)),
    "stages": ({"target": "int4-npu"}, STAGES, (7,)),
    "teacher": ({"amp": "bfloat16"}, "[distillation]\n[optimizer]\nkind = 'adamw'", (4,)),
    "saq": ({"method": "saq"}, "[saq]\nevery = 2\nbetween = 'reuse'", (4,)),
    "sam": ({"method": "sam"}, "[norms]\nfrozen_epochs = 1", (4,)),
    "sqwa": ({"method": "sqwa", "target": "int4-npu"}, SQWA, (16, 4)),
    "sqwa, learned steps": (
        {"method": "sqwa", "target": "int2-vlsi"},
        f'{SQWA}\nstart = "learned"',
        (4, 8, 7),
    ),
    "short multipliers": ({"target": "int2-vlsi"}, "", (7,)),
    "powers of two": (
        {"target": "max78000", "model": "dense.pt2"},
        "[scales]\nstart = 'lsq'\n[norms]\nfrozen_epochs = 1",
        (7,),
    ),
}
"""Keys and tables of a recipe, and after how many steps it is broken off, and again."""
FILES = (
    "prepared/prepared.json",
    "prepared/prepared.safetensors",
    "last/prepared.safetensors",
    "checkpoint/training.json",
    "checkpoint/training.safetensors",
    "metrics.jsonl",
)


class Stop(SilentReporter):
    """Breaks a run off after some steps, as an interrupt does."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, text: str) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("training")
    write_network(found / "plain.pt2")
    write_network(found / "norm.pt2", nn.BatchNorm2d(4))
    write_network(found / "dropped.pt2", nn.Dropout(0.3), nn.BatchNorm2d(4))
    write_network(found / "dense.pt2", nn.BatchNorm2d(4), stride=1)
    write_data(found)
    return found


def train(folder: Path, output: Path, name: str = "recipe", text: str = "", **keys: Any) -> Any:
    resume, reporter = keys.pop("resume", False), keys.pop("reporter", None)
    recipe = write_recipe(folder, name, text, **keys)
    return train_recipe(recipe, output, resume=resume, reporter=reporter)


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_broken_off_and_resumed_is_the_unbroken_one(
    name: str, folder: Path, tmp_path: Path
) -> None:
    keys, text, breaks = RUNS[name]
    keys = {"checkpoint_steps": 3, **keys}
    unbroken: TrainingResult = train(folder, tmp_path / "a", name, text, **keys)
    for steps in breaks:  # each a step after a checkpoint in the middle of an epoch
        resume = (tmp_path / "b").exists()
        with pytest.raises(KeyboardInterrupt):
            train(folder, tmp_path / "b", name, text, **keys, reporter=Stop(steps), resume=resume)
    resumed = train(folder, tmp_path / "b", name, text, **keys, resume=True)
    assert resumed.best == unbroken.best and resumed.steps == unbroken.steps
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_dropout_while_statistics_are_measured_is_drawn_by_the_seed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"method": "sqwa", "target": "int4-npu", "model": "dropped.pt2"}
    text = f"{SQWA}\ncycle_epochs = 1"
    train(folder, tmp_path / "a", "dropped", text, **keys)

    def last_before_the_average(output: Path, identity: Any, checkpoint: Any) -> None:
        write_checkpoint(output, identity, checkpoint)
        if (checkpoint.position.phase, checkpoint.position.phase_epochs) == (1, 3):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "write_checkpoint", last_before_the_average)
        train(folder, tmp_path / "b", "dropped", text, **keys)
    torch.manual_seed(1)
    train(folder, tmp_path / "b", "dropped", text, **keys, resume=True)
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_an_average_is_kept_and_its_re_quantized_form_fits_the_accumulator(
    folder: Path, tmp_path: Path
) -> None:
    facts = 'schema = 1\nname = "narrow"\nsummary = "a narrow adder"\nextends = "lowbit-vlsi"'
    (folder / "narrow.toml").write_text(f"{facts}\n[weight]\nsum_abs_max = {{ 8 = 60 }}")
    text = "[schedule]\n[sqwa]\nsettle_epochs = 1\ncaptures = 3\nfinetune_epochs = 1"
    keys = {"method": "sqwa", "target": "narrow.toml", "weight_bits": 4, "model": "norm.pt2"}
    train(folder, tmp_path / "run", "averaging", text, **keys)
    for name in ("prepared", "last"):
        model = deployq.load_prepared(tmp_path / "run" / name)
        assert {layer.bits for layer in model.plan.layers} == {4}
        assert AccumulatorLimit(model).project() == ()
    average = deployq.load_prepared(tmp_path / "run/average")
    assert {layer.bits for layer in average.plan.layers} == {6}  # 3 of [-7, 7]: up to 21
    scores = {line["phase"]: line["validation_accuracy"] for line in lines(tmp_path / "run")}
    data = deployq.load_dataset(folder / "validation.npz", ["input"])
    assert scores["average"] == pytest.approx(accuracy(average, data))


def test_learning_and_what_is_written(folder: Path, tmp_path: Path) -> None:
    text = "[schedule]\nepochs = 16\n[optimizer]\nkind = 'adamw'\nrate = 3e-2"
    result = train(folder, tmp_path / "run", text=text, model="norm.pt2")
    found = lines(tmp_path / "run")
    best = max(found, key=lambda line: (line["validation_accuracy"], -line["validation_loss"]))
    assert found[-1]["loss"] < 0.5 * found[0]["loss"] and best["validation_accuracy"] > 0.8
    assert result.best is not None and result.best.epoch == best["epoch"]
    assert result.to_json()["prepared_epoch"] == best["epoch"] and result.exit_code == 0
    data = deployq.load_dataset(folder / "validation.npz", ["input"])
    score = accuracy(deployq.load_prepared(tmp_path / "run/prepared"), data)
    assert score == pytest.approx(best["validation_accuracy"])


def accuracy(prepared: PreparedModel, data: deployq.Dataset) -> float:
    x = torch.from_numpy(np.array(data.inputs["input"]))
    assert data.labels is not None
    right: np.ndarray = prepared.module(x).argmax(1).numpy() == data.labels
    return float(right.mean())


def test_the_result_is_exported_as_it_is(folder: Path, tmp_path: Path) -> None:
    train(folder, tmp_path / "run", target="int4-npu", model="norm.pt2")
    prepared = deployq.load_prepared(tmp_path / "run/prepared")
    assert all(quantizer.calibrated for quantizer in quantizers(prepared))
    data = deployq.load_dataset(folder / "validation.npz", ["input"])
    deployq.export(prepared, tmp_path / "bundle", data)
    report = deployq.verify(tmp_path / "bundle", data, latency_runs=1)
    assert [p.different for p in report.parities if p.judged == "exact"]
    assert not any(p.different for p in report.parities if p.judged == "exact")


def test_without_validation_data_the_last_epoch_is_the_result(folder: Path, tmp_path: Path) -> None:
    result = train(folder, tmp_path / "run", text='[data]\ntrain = "train.npz"')
    assert result.best is None and result.to_json()["prepared_epoch"] == 2
    last, prepared = (tmp_path / "run" / n / "prepared.safetensors" for n in ("last", "prepared"))
    assert last.read_bytes() == prepared.read_bytes()


def test_a_prepared_model_goes_on_from_its_scales(folder: Path, tmp_path: Path) -> None:
    train(folder, tmp_path / "first")
    model = str(tmp_path / "first/prepared")
    text = "[distillation]\n[schedule]\nepochs = 1\n[calibration]"
    result = train(folder, tmp_path / "second", text=text, model=model)
    assert result.epochs == 1
    with pytest.raises(InputError, match=r"(?s)at the widths that it has.*found: weight_bits"):
        train(folder, tmp_path / "third", model=model, weight_bits=8)
    with pytest.raises(InputError, match=r"(?s)keeps the target.*int4-npu.*int8-npu"):
        train(folder, tmp_path / "third", model=model, target="int4-npu")


def test_statistics_learn_again_in_a_new_run(folder: Path, tmp_path: Path) -> None:
    train(folder, tmp_path / "first", text="[norms]\nfrozen_epochs = 1", model="norm.pt2")
    first = deployq.load_prepared(tmp_path / "first/last")
    assert all(
        unit.frozen_statistics for unit in first.units().values() if unit.batch_norm != "none"
    )
    train(folder, tmp_path / "second", text="[calibration]", model=str(tmp_path / "first/last"))
    second = deployq.load_prepared(tmp_path / "second/last")
    assert not any(unit.frozen_statistics for unit in second.units().values())
    named = dict(second.module.named_buffers())
    moved = [
        not torch.equal(named[n], b) for n, b in first.module.named_buffers() if "running" in n
    ]
    assert moved and all(moved)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[calibration]\nobserver = 'mse'", r"calibration\.observer"),
        ("[calibration]\n[scales]\nstart = 'lsq'", r"scales\.start"),
        ("[calibration]\n[data]\ntrain = 'train.npz'\ncalibration_samples = 9",
         r"data\.calibration_samples"),
    ],
)  # fmt: skip
def test_a_calibrated_model_takes_no_keys_of_calibration(
    text: str, expected: str, folder: Path, tmp_path: Path
) -> None:
    prepared = deployq.prepare(Plain(stride=2), (torch.zeros(2, 1, SIDE, SIDE),), "int8-npu")
    deployq.save_prepared(prepared, tmp_path / "raw")
    assert train(folder, tmp_path / "first", text=text, model=str(tmp_path / "raw")).epochs == 2
    with pytest.raises(InputError, match=f"(?s)the scales that it has.*found: {expected}\n"):
        train(folder, tmp_path / "run", text=text, model=str(tmp_path / "first/last"))
    assert not (tmp_path / "run").exists()


def test_a_cycle_of_one_step_is_refused_at_the_start(folder: Path, tmp_path: Path) -> None:
    keys = {"method": "sqwa", "batch_size": SAMPLES}
    expected = r"(?s)sqwa\.cycle_epochs, batch_size: .*found: cycle_epochs = 1 with 1 step"
    with pytest.raises(InputError, match=expected):
        train(folder, tmp_path / "run", text=SQWA, **keys)
    assert not (tmp_path / "run").exists()
    text = SQWA.replace("captures = 3", "captures = 1\ncycle_epochs = 2")
    assert train(folder, tmp_path / "run", text=text, **keys).steps == 4


def test_divergence_keeps_the_last_good_state(folder: Path, tmp_path: Path) -> None:
    text = "[optimizer]\nrate = 1e30\nmomentum = 0\nnesterov = false"
    result = train(folder, tmp_path / "run", text=text, checkpoint_steps=1)
    assert result.exit_code == 1 and "NaN or infinite at step" in str(result.diverged)
    facts = result.to_json()
    assert facts["last"] is None and facts["prepared"] is None
    checkpoint = (tmp_path / "run/checkpoint/training.safetensors").read_bytes()
    again = train(folder, tmp_path / "run", text=text, checkpoint_steps=1, resume=True)
    assert again.diverged == result.diverged
    assert (tmp_path / "run/checkpoint/training.safetensors").read_bytes() == checkpoint


def test_a_validation_loss_that_is_no_number_is_divergence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "evaluate", lambda *arguments: Score(float("nan"), 0.0))
    result = train(folder, tmp_path / "run")
    assert result.diverged == "the validation loss is NaN or infinite at step 5"
    assert not (tmp_path / "run/prepared").exists() and not lines(tmp_path / "run")


def test_a_folder_with_a_run_is_not_begun_again(folder: Path, tmp_path: Path) -> None:
    train(folder, tmp_path / "run")
    with pytest.raises(InputError, match=r"(?s)found: checkpoint.*--resume goes on with it"):
        train(folder, tmp_path / "run")
    finished = train(folder, tmp_path / "run", resume=True)
    assert finished.steps == 8  # nothing is left to do
    with pytest.raises(InputError, match=r"(?s)by the target.*int8-npu"):
        train(folder, tmp_path / "run", resume=True, target="ort-cpu")


def test_a_checkpoint_of_another_recipe_names_the_keys(folder: Path, tmp_path: Path) -> None:
    train(folder, tmp_path / "run", text="[optimizer]\nrate = 0.02\nweight_decay = 0.0")
    expected = (
        r"(?s)by the recipe.*found: optimizer\.rate = 0\.03, optimizer\.momentum = 0\.5\n"
        r".*allowed: optimizer\.rate = 0\.02, optimizer\.momentum = 0\.9, as the checkpoint"
    )
    text = "[optimizer]\nrate = 0.03\nweight_decay = 0.0\nmomentum = 0.5"
    with pytest.raises(InputError, match=expected):
        train(folder, tmp_path / "run", text=text, resume=True)


@pytest.mark.parametrize(
    ("norms", "stride", "expected"),
    [((), 1, r"found: 3\.weight \(4, 64\).*allowed: 3\.weight \(4, 16\), as"),
     ((nn.BatchNorm2d(4),), 2, r"found: 4\.weight \(4, 16\)\n.*allowed: no 4\.weight")],
)  # fmt: skip
def test_a_checkpoint_of_another_network_of_this_name(
    norms: tuple[nn.Module, ...], stride: int, expected: str, folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "net.pt2"
    write_network(model)
    train(folder, tmp_path / "run", model=str(model))
    write_network(model, *norms, stride=stride)
    with pytest.raises(InputError, match=f"(?s)by the model.*{expected}"):
        train(folder, tmp_path / "run", model=str(model), resume=True)


def test_a_run_goes_on_with_its_log(folder: Path, tmp_path: Path) -> None:
    train(folder, tmp_path / "run")
    (tmp_path / "run/metrics.jsonl").unlink()
    with pytest.raises(InputError, match=r"(?s)metrics.jsonl: a run goes on with.*found: none"):
        train(folder, tmp_path / "run", resume=True)
    (tmp_path / "run/metrics.jsonl").touch()
    assert train(folder, tmp_path / "run", resume=True).steps == 8


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda facts: facts["position"].update(phase=7), "IndexError"),
        (lambda facts: facts["state"]["items"][1][1].update(items=[]), "KeyError"),
    ],
)
def test_a_state_that_was_changed(
    change: Callable[[Any], None], expected: str, folder: Path, tmp_path: Path
) -> None:
    train(folder, tmp_path / "run")
    path = tmp_path / "run/checkpoint/training.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    with pytest.raises(InputError, match=f"(?s)the checkpoint cannot be read.*{expected}"):
        train(folder, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("name", "found"),
    [("file", "a file"), ("file/in/it", "Not a directory"), ("n" * 300, "File name too long")],
)
def test_a_run_is_written_into_a_folder(
    name: str, found: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=f"(?s)a run is written into a folder.*found: {found}"):
        train(folder, tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def saved(folder: Path, name: str, **arrays: np.ndarray) -> str:
    np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]  # keywords are arrays
    return f'[data]\ntrain = "{name}.npz"'


X = np.random.default_rng(0).normal(size=(SAMPLES, 1, SIDE, SIDE)).astype(np.float32)
Y = np.zeros(SAMPLES, np.int64)


@pytest.mark.parametrize(
    ("keys", "arrays", "expected"),
    [
        ({}, {"x": X}, "found: data without labels"),
        ({}, {"x": X, "y": Y + CLASSES}, "found: 4 at sample 0"),
        ({}, {"x": X[:0], "y": Y[:0]}, "at least one"),
        ({}, {"x": X[..., 1:], "y": Y}, "has the shape of the model's input"),
        ({"batch_size": 65}, {"x": X, "y": Y}, "64 samples for batches of 65"),
        ({"batch_size": 1, "model": "norm.pt2"}, {"x": X, "y": Y}, "parts of 1 sample"),
        ({"batch_size": 4, "accumulate": 4, "model": "norm.pt2"}, {"x": X, "y": Y}, "of 1 sample"),
        ({"model": "none.pt2"}, {"x": X, "y": Y}, "No such file"),
        ({"model": "nn.pt2", "weights": "w.pt"}, {"x": X, "y": Y}, "package.module:callable"),
        ({"device": "cuda"}, {"x": X, "y": Y}, "no GPU that torch can use"),
    ],
)
def test_what_cannot_begin(
    keys: dict[str, Any],
    arrays: dict[str, np.ndarray],
    expected: str,
    folder: Path,
    tmp_path: Path,
) -> None:
    if keys.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=f"(?s){expected}"):
        train(folder, tmp_path / "run", text=saved(folder, "bad", **arrays), **keys)
    assert not (tmp_path / "run").exists()


def test_nothing_to_quantize(folder: Path, tmp_path: Path) -> None:
    text = '[layers."*"]\nkeep_float = true'
    with pytest.raises(InputError, match="needs a layer whose weights are quantized"):
        train(folder, tmp_path / "run", text=text)


def test_a_batch_of_one_without_batch_norm(folder: Path, tmp_path: Path) -> None:
    text = saved(folder, "few", x=X[:2], y=Y[:2])
    assert train(folder, tmp_path / "run", text=text, batch_size=1).steps == 4
