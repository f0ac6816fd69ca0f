"""``deployq landscape`` as a user has it: picture, data, tables, JSON, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deployq
from deployq.landscape_inputs import distinct_names
from tests.commands import Ran, run_command
from tests.landscape.models import apart, base, data, three

Run = Callable[..., Ran]
FEW = ("--grid", "2", "--samples", "8")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: run_command(monkeypatch, capsys, "landscape", *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four prepared models, of one name in four runs, and data of two kinds."""
    made = tmp_path_factory.mktemp("landscape")
    for name, model in {**three(), "other": apart(base(), 9)}.items():
        deployq.save_prepared(model, made / name / "net")
    seen, norms = data(), data(10, seed=5)
    np.savez(made / "test.npz", x=seen.inputs["x"], y=seen.labels)
    np.savez(made / "train.npz", x=norms.inputs["x"])
    return made


@pytest.fixture
def corners(folder: Path) -> list[Path]:
    return [folder / name / "net" for name in three()]


def test_a_picture_its_data_and_a_table(
    run: Run, folder: Path, corners: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "plane.png"
    out, err, code = run(
        *corners, "--also", folder / "other/net", "--data", folder / "test.npz", "--norm-data",
        folder / "train.npz", "-o", path, "--sharpness", "--directions", "2", *FEW,
    )  # fmt: skip
    assert code == 0, err
    for stage in ("curvature", "models", "raw plane", "quantized plane"):
        assert stage in err
    with Image.open(path) as image:
        assert image.format == "PNG"
    facts = json.loads(path.with_suffix(".json").read_text())
    names = ["first/net", "second/net", "third/net", "other/net"]
    assert [model["name"] for model in facts["models"]] == names
    assert list(facts["sharpness"]) == names
    assert facts["samples"] == {"data": 8, "norms": 8}
    assert str(folder) not in path.with_suffix(".json").read_text()
    assert all(name in out for name in names)
    assert "raw plane, data: loss" in out and "quantized plane, data: loss" in out
    assert "samples: data 8, norms 8" in out and "rise of the loss at radius 0.3" in out


def test_pictures_of_plane_and_sharpness_lie_side_by_side(
    run: Run, folder: Path, corners: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "plane.png"
    out, err, code = run(
        *corners, "--data", folder / "test.npz", "-o", path, "--sharpness", "--directions", "2",
        "--raw", *FEW,
    )  # fmt: skip
    assert code == 0 and "curve along the gradient" in err
    stems = ("plane", "plane.sharpness")
    wanted = {f"{stem}.{kind}" for stem in stems for kind in ("png", "json")}
    assert {each.name for each in tmp_path.iterdir()} == wanted
    assert "plane.sharpness.json" in out
    plane, sharp = (json.loads((tmp_path / f"{stem}.json").read_text()) for stem in stems)
    assert plane["curves"] == sharp["curves"] and plane["sharpness"] == sharp["sharpness"]
    assert list(sharp["curves"]) == ["first/net", "second/net", "third/net"]
    assert "surfaces" in plane and "surfaces" not in sharp


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_picture_of_sharpness_takes_any_number_of_models(
    run: Run, folder: Path, corners: list[Path], count: int, tmp_path: Path
) -> None:
    models, path = [*corners, folder / "other/net"][:count], tmp_path / "s.png"
    arguments = ("--data", folder / "test.npz", "--sharpness", "--directions", "2", *FEW)
    out, err, code = run(*models, *arguments, "-o", path, "--json")
    assert code == 0, err
    with Image.open(path) as image:
        assert image.format == "PNG"
    printed, stored = json.loads(out), json.loads(path.with_suffix(".json").read_text())
    assert {key: stored[key] for key in printed} == printed
    assert len(printed["curves"]) == count and "surfaces" not in printed
    for name, curve in printed["curves"].items():
        assert len(curve["radii"]) == 9 and len(curve["random"]) == 2
        assert curve["adversarial"][-1] == printed["sharpness"][name]["adversarial"]


@pytest.mark.parametrize("kind", ["raw", "quantized"])
def test_one_plane_alone_as_json(
    run: Run, folder: Path, corners: list[Path], kind: str, tmp_path: Path
) -> None:
    arguments = ("--data", folder / "test.npz", "-o", tmp_path / "plane.png", f"--{kind}", *FEW)
    out, _, code = run(*corners, *arguments, "--keep-norms", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["samples"] == {"data": 8, "norms": 0}
    assert [surface["plane"] for surface in facts["surfaces"]] == [kind]
    stored = json.loads((tmp_path / "plane.json").read_text())
    assert {key: stored[key] for key in facts} == facts


def test_sharpness_of_one_model(run: Run, folder: Path, corners: list[Path]) -> None:
    arguments = ("--data", folder / "test.npz", "--sharpness", "--radius", "0.1")
    out, _, code = run(corners[0], *arguments, "--json")
    facts = json.loads(out)
    assert code == 0 and list(facts) == ["sharpness"]
    found = facts["sharpness"]["net"]
    assert found == deployq.measure_sharpness(three()["first"], data(), radius=0.1).to_json()
    out, _, code = run(corners[0], *arguments)
    assert code == 0 and f"{found['eigenvalue']:.4g}" in out and f"{found['loss']:.4f}" in out


def test_images_take_the_preprocessing_that_is_stated(
    run: Run, folder: Path, corners: list[Path], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), np.uint8)
    np.savez(tmp_path / "pixels.npz", x=pixels, y=np.zeros(8, int))
    arguments = (corners[0], "--data", tmp_path / "pixels.npz", "--sharpness")
    assert run(*arguments, "--scale", "x/255", "--directions", "1").code == 0
    assert run(*arguments).code == 2


def test_what_cannot_be_drawn(run: Run, folder: Path, corners: list[Path], tmp_path: Path) -> None:
    path, seen = tmp_path / "plane.png", ("--data", folder / "test.npz")
    tries: list[tuple[tuple[str | Path, ...], str]] = [
        ((*corners, *seen), "a picture of a plane has a path"),
        ((*corners, *seen, "--sharpness", "--also", corners[0]), "a picture of a plane has a path"),
        ((*corners[:2], *seen, "-o", path), "a plane goes through three models"),
        ((*corners[:2], *seen, "-o", path, "--sharpness", "--also", corners[2]), "three models"),
        ((corners[0], *seen, "-o", tmp_path / "s.svg", "--sharpness"), "a picture is a .png file"),
        ((*corners, *seen, "-o", tmp_path / "plane.svg"), "a picture is a .png file"),
        ((*corners, "-o", path), "data is stated"),
        ((*corners, "--data", folder / "none.npz", "-o", path), "No such file"),
        ((*corners, "--data", folder / "train.npz", "-o", path), "a loss needs labels"),
        ((*corners, *seen, "-o", path, "--grid", "1"), "--grid"),
        ((*corners, *seen, "-o", path, "--sharpness", "--radius", "0"), "positive and finite"),
        ((*corners[:2], folder, *seen, "-o", path), "no prepared.json in it"),
        ((*corners[:2], folder / "none", *seen, "-o", path), "no such folder"),
        ((*corners[:2], corners[0], *seen, "-o", path), "each model is named once"),
    ]  # fmt: skip
    for arguments, text in tries:
        out, err, code = run(*arguments)
        assert (code, out) == (2, ""), arguments
        assert text in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_names_are_the_last_parts_that_differ() -> None:
    assert distinct_names([Path("a/x"), Path("b/y")]) == ["x", "y"]
    assert distinct_names([Path("/a/net"), Path("/b/net"), Path("/b/c")]) == [
        "a/net",
        "b/net",
        "b/c",
    ]
