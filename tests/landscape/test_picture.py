"""Pictures and the data beside them: valid, the same bytes, all or nothing."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deployq
from deployq.errors import InputError
from deployq.landscape.facts import Landscape, Mark, PlaneKind, Surface
from deployq.landscape.grid import Grid
from deployq.landscape.picture import contour_levels, draw_picture
from tests.landscape.models import data, three

ONE = Grid(3, 0.2, (PlaneKind.QUANTIZED,))


@pytest.fixture
def surface() -> Landscape:
    losses = np.arange(12.0).reshape(3, 4)
    marks = [Mark(f"m{i}", i < 3, float(i), float(i % 2), 0.0, {"data": 1.0}) for i in range(5)]
    planes = (Surface(PlaneKind.RAW, "data", losses),)
    return Landscape([0.0, 1, 2, 3], [0.0, 1, 2], tuple(marks), planes, {"data": 7})


def test_the_same_landscape_gives_the_same_bytes(surface: Landscape, tmp_path: Path) -> None:
    import matplotlib

    draw_picture(surface, tmp_path / "a.png")
    with matplotlib.rc_context({"axes.facecolor": "red", "figure.dpi": 30, "savefig.dpi": 30}):
        draw_picture(surface, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG" and min(image.size) > 400
        assert "Software" not in image.info
        assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 20


def test_levels_are_quantiles_of_what_is_finite() -> None:
    losses = np.array([[1.0, np.nan], [np.inf, 3.0]])
    levels = contour_levels([losses, np.array([[2.0, 9.0]])])
    assert levels is not None
    assert (levels[0], levels[-1]) == (1.0, 9.0) and (np.diff(levels) > 0).all()
    flat = contour_levels([np.full((2, 2), 4.0)])
    assert flat is not None and flat[0] < 4 < flat[1]
    assert contour_levels([np.full((2, 2), np.nan)]) is None


@pytest.mark.parametrize("value", [np.nan, 2.0])
def test_surfaces_without_contours_are_drawn(
    surface: Landscape, value: float, tmp_path: Path
) -> None:
    flat = Surface(PlaneKind.RAW, "data", np.full((3, 4), value))
    draw_picture(replace(surface, surfaces=(flat,)), tmp_path / "flat.png")
    assert (tmp_path / "flat.png").stat().st_size > 1000
    wanted = None if np.isnan(value) else value
    assert flat.to_json()["losses"] == [[wanted] * 4] * 3


def test_a_picture_and_its_data(tmp_path: Path) -> None:
    path = tmp_path / "plane.png"
    found = deployq.draw_landscape(three(), data(), path, grid=ONE)
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["picture_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["surfaces"] == [
        {"plane": "quantized", "data": "data", "losses": found.surfaces[0].losses.tolist()}
    ]
    assert [model["name"] for model in facts["models"]] == ["first", "second", "third"]
    assert facts["x"] == found.x and facts["samples"] == {"data": 12, "norms": 12}
    assert {each.name for each in tmp_path.iterdir()} == {"plane.png", "plane.json"}


def test_nothing_is_written_where_drawing_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "plane.png"
    path.write_text("old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deployq.landscape.drawing.draw_picture", fail)
    with pytest.raises(InputError, match="No space left"):
        deployq.draw_landscape(three(), data(), path, grid=Grid(2))
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("plane.jpg", "a picture is a .png file"), ("no/plane.png", "no such folder")],
)
def test_paths_that_take_no_picture(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=text):
        deployq.draw_landscape(three(), data(), tmp_path / name)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install \"deployq\[plots\]\""):
        deployq.draw_landscape(three(), data(), tmp_path / "plane.png")
    assert not list(tmp_path.iterdir())
