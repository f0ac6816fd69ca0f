"""``deployq export --sensitivity``: table, manifest and JSON, of float and prepared models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deployq.bundle import read_bundle
from deployq.data import Dataset
from deployq.sensitivity import MOST_SAMPLES, SENSITIVITY, measure_sensitivity, sensitivity_facts
from deployq.sensitivity_rendering import SHOWN, print_sensitivity
from tests.test_cli import Run, run

__all__ = ["run"]


def test_a_float_model_and_its_bundle_are_ranked(
    run: Run, digits_pt2: Path, test_npz: Path, tmp_path: Path
) -> None:
    options = ("--calib", test_npz, "-t", "int4-npu", "--sensitivity", "-o")
    # learned rounding ends in weights that are codes already: quantizing them again costs nothing
    fresh = run("export", digits_pt2, *options, tmp_path / "a", "--json", "--corrections", "none")
    found = json.loads(fresh.stdout)["facts"]["sensitivity"]
    plan = json.loads(fresh.stdout)["plan"]
    assert len(found["ranking"]) == len(plan["layers"]) + len(plan["tensors"])
    assert found["samples"] == found["most_samples"] == MOST_SAMPLES
    assert found["float_top1"] > 0.8 and found["next"]
    decibels = [row["sqnr_db"] for row in found["ranking"]]
    assert decibels == sorted(decibels) and found["ranking"][0]["kind"] == "weight"  # 4 bits
    assert read_bundle(tmp_path / "a").facts["sensitivity"] == found
    prepared = run("export", tmp_path / "a", *options, tmp_path / "b")
    assert read_bundle(tmp_path / "b").facts["sensitivity"] == found
    assert "cost of each quantizer alone, on 64 calibration samples" in prepared.stdout
    assert f"next: export the float model again with {found['next'][0]}" in prepared.stdout
    assert f"{len(decibels) - SHOWN} more cost less" in prepared.stdout
    assert "sensitivity" in prepared.stderr


def test_without_the_flag_nothing_is_measured(
    run: Run, digits_pt2: Path, calib_npz: Path, tmp_path: Path
) -> None:
    made = run("export", digits_pt2, "-t", "int8-npu", "--calib", calib_npz, "-o", tmp_path / "b")
    assert "cost of" not in made.stdout
    assert "sensitivity" not in read_bundle(tmp_path / "b").facts


def test_no_labels_no_column(
    make_prepared: object, calibration: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared("int8-npu")  # type: ignore[operator]  # a fixture
    few = Dataset({"x": np.asarray(calibration.inputs["x"][:5])})
    facts = sensitivity_facts(prepared, measure_sensitivity(prepared, few))
    assert facts["samples"] == 5 and facts["float_top1"] is None
    facts["ranking"][0] |= {"sqnr_db": None, "equal": True}
    facts["ranking"][1] |= {"sqnr_db": None, "equal": False}
    print_sensitivity({SENSITIVITY: facts})
    shown = capsys.readouterr().out
    assert "equal" in shown and "output is 0 in float" in shown
