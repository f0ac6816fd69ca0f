"""``--io integer`` on the command line: pixels, codes, notes, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="images need the extra deployq[images]")
from tests.test_cli_inputs import FEW, NET, Run, change, project, run

__all__ = ["project", "run"]  # fixtures


def integer_bundle(run: Run, *flags: str) -> dict[str, object]:
    export = run("export", NET, "-o", "bundle", "--io", "integer", *flags, "--json")
    facts: dict[str, object] = json.loads(export.stdout)["facts"]
    return facts


def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples as reals and as pixels, and their labels."""
    with np.load("test.npz") as stored:
        return stored["x"], np.round(stored["x"] * 16).astype(np.uint8), stored["y"]


def test_pixels_go_straight_into_an_exported_bundle(run: Run, project: Path) -> None:
    facts = integer_bundle(run, "--target", "ort-cpu")
    assert facts["pixels"] == {"x": "code = pixel"} and facts["io"] == "integer"
    reals, pixels, labels = arrays()
    np.savez("pixels.npz", x=pixels)
    np.savez("reals.npz", x=reals)
    straight = run("simulate", "bundle", "--input", "pixels.npz", "-o", "a.npz")
    assert "the samples are codes, taken as they are" in straight.stderr
    quantized = run(
        "simulate", "bundle/model.onnx", "-i", "reals.npz", "-o", "b.npz", "-t", "ort-cpu"
    )
    assert "u8[0,255] of scale 0.0625 and zero point 0: the samples are reals, quantized" in (
        quantized.stderr
    )
    with np.load("a.npz") as a, np.load("b.npz") as b:
        assert set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a)
        np.testing.assert_array_equal(a["codes/x"], pixels)
    np.savez("labelled.npz", x=pixels, y=labels)
    verdicts = [
        json.loads(run("verify", "bundle", *FEW, *data, "--json").stdout)
        for data in ((), ("--data", "labelled.npz"), ("--data", "test.npz"))
    ]
    assert len({str(verdict["accuracy"]) for verdict in verdicts}) == 1


def test_the_plan_says_what_becomes_of_pixels(run: Run, project: Path) -> None:
    shown = run("export", NET, "-o", "a", "--io", "integer")
    assert "  x: code = pixel - 128, its grid is pinned to that" in shown.stdout.splitlines()
    shown = run("export", NET, "-o", "b", "--io", "integer", "--scale", "x/8-1.01")
    assert "0.0 is at pixel 8.08, which is no code of 0..255; its grid is calib" in shown.stdout
    assert "pixel" not in run("export", NET, "-o", "c").stdout
    change(project / "deployq.toml", 'weights = "w.pt"', "")
    again = run("export", "a", "-o", "d", "--io", "integer")
    assert "note: x: code = pixel - 128" in again.stderr
    again = run("export", "c", "-o", "e", "--io", "integer")
    assert "note: x: pixels are not its codes: the scales of the model stand" in again.stderr
    facts = json.loads((project / "e/manifest.json").read_text())["facts"]
    assert facts["pixels"] == {"x": None}


def test_settings_choose_the_edges_and_flags_win(run: Run, project: Path) -> None:
    change(project / "deployq.toml", "target =", 'io = "integer"\ntarget =')
    calib = ("--calib", "test.npz")
    export = run("export", NET, "-o", "a", *calib, "--json")
    assert "calibration data are no images: [preprocessing] sets no input's grid" in export.stderr
    facts = json.loads(export.stdout)["facts"]
    assert facts["io"] == "integer" and facts["pixels"] == {}
    facts = json.loads(run("export", NET, "-o", "b", *calib, "--io", "float", "--json").stdout)
    assert facts["facts"]["io"] == "float" and "pixels" not in facts["facts"]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((2, 1, 8, 8), np.uint8), "next: a pixel p is code p - 128"),
        (np.zeros((2, 1, 8, 8), np.int16), "found: int16"),
        (np.zeros((2, 1, 8, 8), np.float64), "found: float64"),
        (np.zeros((2, 8, 8), np.int8), "found: (2, 8, 8)"),
        (np.full((2, 1, 8, 8), np.nan, np.float32), "nan at index (0, 0, 0, 0)"),
    ],
    ids=["pixels", "int16", "float64", "shape", "nan"],
)
def test_samples_that_are_no_codes_exit_2(
    run: Run, project: Path, array: np.ndarray, text: str
) -> None:
    integer_bundle(run)
    np.savez("bad.npz", x=array)
    for command in (("simulate", "bundle", "--input"), ("verify", "bundle", *FEW, "--data")):
        result = run(*command, "bad.npz", code=2)
        assert text in result.stderr


def test_other_words_are_refused(run: Run, project: Path) -> None:
    refused = run("export", NET, "-o", "b", "--io", "codes", code=2)
    assert "--io" in refused.stderr and "allowed: float, integer" in refused.stderr
    change(project / "deployq.toml", "target =", 'io = "u8"\ntarget =')
    refused = run("export", NET, "-o", "b", code=2)
    assert "deployq.toml: io" in refused.stderr and not (project / "b").exists()


def test_ids_take_no_reals(run: Run, project: Path) -> None:
    """An integer input without scale and zero point: nothing says what a real would become."""
    import onnx

    text = '<ir_version: 10, opset_import: ["" : 21]> g (int64[N,2] i, float[N,2] x) =>'
    text += "(int64[N,2] j, float[N,2] y) <float s = {0.5}, uint8 z = {3}>"
    text += "{ j = Neg(i) q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
    onnx.save(onnx.parser.parse_model(text), "ids.onnx")
    reals = np.zeros((1, 2), np.float32)
    np.savez("reals.npz", i=reals, x=reals)
    refused = run("simulate", "ids.onnx", "-t", "ort-cpu", "--input", "reals.npz", code=2)
    assert "found: float32" in refused.stderr and "allowed: int64" in refused.stderr
