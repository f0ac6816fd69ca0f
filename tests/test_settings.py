"""deployq.toml: what it holds, where it is found, and which words win."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployq.errors import InputError
from deployq.flags import stated_preprocessing
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.settings import Settings, find_settings, parse_preprocessing, read_settings
from deployq.sources import Preprocessing

WHOLE = """
target = "int4-npu"
calib = "images"
data = "my.data:load"
labels = "val.csv"
weights = "w.safetensors"
metric = "auc"
weight_bits = 4
activation_bits = 8
first_bits = 8
last_bits = 7
observer = "minmax"

[preprocessing]
scale = "x/255"
mean = [0.485, 0.456, 0.406]
std = [1, 1, 1]
resize = 256
crop = [224, 192]
channels = "bgr"

[layers."block1.*"]
weight_bits = 8
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "deployq.toml"
    path.write_text(text)
    return path


def test_every_key_and_paths_from_the_files_folder(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, WHOLE))
    assert settings.calib == str(tmp_path / "images") and settings.data == "my.data:load"
    assert settings.weights == str(tmp_path / "w.safetensors") and settings.target == "int4-npu"
    assert settings.labels == str(tmp_path / "val.csv") and settings.metric == "auc"
    assert settings.preprocessing == Preprocessing(
        "x/255", (0.485, 0.456, 0.406), (1, 1, 1), 256, (224, 192), channels="bgr"
    )
    layers = {"block1.*": LayerRecipe(8)}
    assert settings.recipe(None, None) == Recipe(4, 8, layers, 8, 7)
    assert settings.recipe(2, None) == Recipe(2, 8, layers, 8, 7)
    assert settings.recipe(None, None, (), 6, 5) == Recipe(4, 8, layers, 6, 5)


def test_a_profile_by_path_is_relative_too(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, 'target = "board.toml"'))
    assert settings.target == str(tmp_path / "board.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("targets = 'a'", r"targets: .*found: targets.*did you mean target\?"),
        ("path = 'a'", r"path: deployq\.toml has no such key"),
        ("[preprocessing]\nscale = 'x'\nmeen = [1]", r"did you mean preprocessing\.mean\?"),
        ("[layers.conv]\nwaight_bits = 4", r"did you mean layers\.conv\.weight_bits\?"),
        ("weight_bits = '4'", r"weight_bits: .*found: \"4\".*next: change weight_bits"),
        ("[preprocessing]\ncrop = 2", r"preprocessing\.scale: a required key is missing"),
        ("[preprocessing]\nscale = 'x'\ncrop = 'big'", r"preprocessing\.crop: .*\"big\""),
        ("[preprocessing]\nscale = 'x'\nlayout = 'chw'", r"preprocessing\.layout: .*nchw"),
        ("[preprocessing]\nscale = 'y'", r": preprocessing\.scale: .*'y'"),
        ("target = ", "readable TOML.*Invalid value"),
    ],
)
def test_other_words_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"(?s)deployq.toml.*{expected}"):
        read_settings(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        find_settings("model.pt2", tmp_path / "own.toml")
    (tmp_path / "own.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="UTF-8"):
        find_settings("model.pt2", tmp_path / "own.toml")


def test_the_file_lies_beside_the_model_or_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    written(tmp_path, "metric = 'auc'")
    written(tmp_path / "here", "metric = 'top-1'")
    monkeypatch.chdir(tmp_path / "here")
    assert find_settings(str(tmp_path / "model.pt2")).metric == "auc"
    assert find_settings("model.pt2").metric == "top-1"
    assert find_settings("my.net:model").metric == "top-1"
    assert find_settings("my.net:model", tmp_path / "deployq.toml").metric == "auc"
    assert find_settings(str(tmp_path / "none/model.pt2")) == Settings()


def test_widths_of_the_file_are_not_for_a_prepared_model(tmp_path: Path) -> None:
    written(tmp_path, WHOLE)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/prepared.json").touch()
    settings = find_settings(str(tmp_path / "bundle"))
    assert settings.recipe(None, None) == Recipe() and settings.observer is None
    assert settings.target == "int4-npu"


def test_a_flag_wins_and_neither_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, "calib = 'a.npz'"))
    assert settings.require("calib", "b.npz") == "b.npz"
    assert settings.require("calib", None) == str(tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"(?s)no --target, and no target in .*deployq\.toml"):
        settings.require("target", None)
    with pytest.raises(InputError, match=r"(?s)no deployq\.toml beside the model.*next: give --ta"):
        Settings().require("target", None)


def test_flags_of_preprocessing_win_one_by_one() -> None:
    base = Preprocessing("x/255", (0.5,), crop=8)
    assert stated_preprocessing(base, None, None, None, None, None) is base
    assert stated_preprocessing(base, None, "0,0,0.25", "2", 9, "4,5") == Preprocessing(
        "x/255", (0, 0, 0.25), (2,), 9, (4, 5)
    )
    assert stated_preprocessing(None, "x", None, None, None, "4") == Preprocessing("x", crop=4)
    assert stated_preprocessing(None, None, None, None, None, None) is None


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ((None, "1", None, None, None), "--scale: .*never guessed.*--mean without a scale"),
        (("x", "1;2", None, None, None), "--mean: .*'1;2'.*numbers with commas"),
        (("x", None, "big", None, None), "--std: "),
        (("x", None, None, None, "4x4"), "--crop: .*one length, or height,width"),
        (("x", None, None, None, "1,2,3"), "--crop: "),
    ],
)
def test_flags_without_a_meaning(flags: tuple[str | None, ...], text: str) -> None:
    with pytest.raises(InputError, match=f"(?s){text}"):
        stated_preprocessing(None, *flags)  # type: ignore[arg-type]  # resize is None here


def test_a_manifest_states_preprocessing_as_it_was() -> None:
    stated = Preprocessing("x/255", (0.5,), crop=(4, 5))
    assert parse_preprocessing("manifest.json", stated.facts()) == stated
    with pytest.raises(InputError, match=r"manifest\.json: a manifest states a preprocessing"):
        parse_preprocessing("manifest.json", {"scale": "x", "angle": 3})
