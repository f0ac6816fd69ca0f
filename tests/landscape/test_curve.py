"""Curves of the rise of the loss: their values, their picture and the data beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import deployq
from deployq.errors import InputError
from deployq.landscape.curve import measure_curve
from deployq.landscape.curve_picture import draw_curves
from deployq.landscape.facts import SharpnessCurve
from deployq.train import Units
from tests.landscape.models import apart, base, data, first_score, linear, means

CURVE = SharpnessCurve(
    8, 0.5, (0.0, 0.1, 0.2), "deviation", (0.0, 0.3, 0.9), ((0.0, 0.1, 0.2), (0.0, -0.1, 0.0))
)


def test_a_curve_begins_at_the_model_and_ends_at_its_sharpness() -> None:
    steps = list[str]()
    found = measure_curve(base(), data(), directions=3, progress=steps.append)
    sharp = deployq.measure_sharpness(base(), data(), directions=3, steps=0)
    assert found.radii == tuple(np.linspace(0, 0.3, 9)) and len(found.random) == 3
    assert (found.loss, found.samples) == (sharp.loss, sharp.samples)
    assert found.adversarial[0] == 0 and found.adversarial[-1] == sharp.adversarial
    last = [row[-1] for row in found.random]
    assert sum(last) / 3 == sharp.random_mean and max(last) == sharp.random_worst
    assert len(steps) == 8 * (1 + 3)
    assert set(steps) == {"curve along the gradient", "curves along random directions"}


def test_a_linear_loss_rises_in_a_line() -> None:
    slope = 0.5 * float(means(data()).mean(0).norm())
    found = measure_curve(
        linear(), data(), loss=first_score, radius=0.5, points=3, units=Units.ABSOLUTE
    )
    assert found.radii == (0.0, 0.25, 0.5) and found.units == "absolute"
    assert found.adversarial == pytest.approx((0.0, slope / 2, slope), rel=1e-4)


def test_rises_that_are_not_finite_are_none_in_json_and_blank_in_the_picture(
    tmp_path: Path,
) -> None:
    bad = replace(CURVE, adversarial=(0.0, np.inf, np.nan), random=((0.0, 1.0, np.inf),))
    facts = bad.to_json()
    assert facts["adversarial"] == [0.0, None, None] and facts["random"] == [[0.0, 1.0, None]]
    draw_curves({"bad": bad}, tmp_path / "bad.png")
    draw_curves({"good": CURVE}, tmp_path / "good.png")
    assert (tmp_path / "bad.png").read_bytes() != (tmp_path / "good.png").read_bytes()


def colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        assert image.format == "PNG" and "Software" not in image.info
        found: Any = image.convert("RGB").getcolors(1 << 20)
        return {colour for _, colour in found}


def test_a_picture_has_a_colour_for_each_model_and_the_same_bytes(tmp_path: Path) -> None:
    import matplotlib

    draw_curves({"a": CURVE, "b": CURVE}, tmp_path / "a.png")
    with matplotlib.rc_context({"axes.facecolor": "red", "figure.dpi": 30, "savefig.dpi": 30}):
        draw_curves({"a": CURVE, "b": CURVE}, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    draw_curves({"a": CURVE}, tmp_path / "one.png")
    second = (0xFF, 0x7F, 0x0E)  # matplotlib's own second colour
    assert second in colours(tmp_path / "a.png") and second not in colours(tmp_path / "one.png")


def test_a_picture_of_models_and_its_data(tmp_path: Path) -> None:
    path, models = tmp_path / "s.png", {"one": base(), "other": apart(base(), 1)}
    sharp = {"one": deployq.measure_sharpness(base(), data(), directions=2, steps=0)}
    found = deployq.draw_sharpness(
        models, data(), path, directions=2, points=3, sharpness=sharp, samples=8
    )
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["picture_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["curves"] == {name: curve.to_json() for name, curve in found.items()}
    assert list(facts["curves"]) == ["one", "other"]
    assert facts["sharpness"] == {"one": sharp["one"].to_json()}
    assert {each.name for each in tmp_path.iterdir()} == {"s.png", "s.json"}


def test_nothing_is_written_where_drawing_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deployq.landscape.sharpness_drawing.draw_curves", fail)
    with pytest.raises(InputError, match="No space left"):
        deployq.draw_sharpness({"one": base()}, data(), tmp_path / "s.png", points=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"models": {}}, "a picture of sharpness shows a model"),
        ({"name": "s.jpg"}, "a picture is a .png file"),
        ({"name": "no/s.png"}, "no such folder"),
        ({"radius": 0.0}, "positive and finite"),
        ({"directions": 0}, "random directions are at least one"),
        ({"points": 1}, "a curve runs from the model to the radius"),
        ({"data": replace(data(), labels=None)}, "a loss needs labels"),
    ],
)
def test_what_has_no_picture(facts: dict[str, Any], text: str, tmp_path: Path) -> None:
    given = {"models": {"one": linear()}, "data": data(), "name": "s.png", **facts}
    path = tmp_path / given.pop("name")
    with pytest.raises(InputError, match=text):
        deployq.draw_sharpness(given.pop("models"), given.pop("data"), path, **given)
    assert not list(tmp_path.iterdir())
