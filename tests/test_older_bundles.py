"""Bundles of every schema that was ever written: they load, and compute what they did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from deployq import pipeline
from deployq.bundle import read_bundle
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.codes import evaluate_codes
from deployq.graph.prepared_files import load_prepared_model, save_prepared_model
from deployq.graph.prepared_upgrades import FORMAT
from deployq.manifest import MANIFEST, SCHEMA_VERSION
from deployq.verifier.report import Limits

FIXTURES = Path(__file__).parent / "fixtures/bundles"
VERSIONS = {"v1": (1, 1), "v2": (1, 2), "v3": (2, 2), "v4": (2, 3), "v5": (2, 4), "v6": (2, 5)}
"""Folder to the schema of its manifest and the format of its prepared model."""


def test_every_stored_version_is_listed_and_the_last_is_the_present() -> None:
    assert sorted(VERSIONS) == sorted(path.name for path in FIXTURES.glob("v*"))
    assert VERSIONS[max(VERSIONS)] == (SCHEMA_VERSION, FORMAT)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stored_bundle_loads_and_computes_its_golden_codes(version: str) -> None:
    path = FIXTURES / version
    manifest = json.loads((path / MANIFEST).read_text())
    stored = json.loads((path / "prepared.json").read_text())["format"]
    assert (manifest["schema_version"], stored) == VERSIONS[version]
    golden = np.load(path / "golden.npz")
    assert {file.path for file in read_bundle(path).files} >= {"model.onnx", "prepared.json"}
    simulation = pipeline.simulate(path, {"x": golden["input/x"]})
    prepared = load_prepared_model(path)
    codes = evaluate_codes(
        prepared, prepared.profile.contract(), torch.from_numpy(golden["input/x"])
    )
    assert len(codes) == 6
    for name, reference in codes.items():
        np.testing.assert_array_equal(reference.numpy(), golden[f"codes/{name}.codes"])
    for name, simulated in simulation.codes.items():
        np.testing.assert_array_equal(simulated.numpy(), golden[f"codes/{name}"])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stored_bundle_verifies(version: str) -> None:
    golden = np.load(FIXTURES / version / "golden.npz")
    data, few = Dataset({"x": golden["input/x"]}), Limits(1, 1, 1)
    assert pipeline.verify(FIXTURES / version, data, limits=few, latency_runs=1).misses() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_prepared_model_is_saved_in_the_present_format(version: str, tmp_path: Path) -> None:
    save_prepared_model(load_prepared_model(FIXTURES / version), tmp_path)
    assert json.loads((tmp_path / "prepared.json").read_text())["format"] == FORMAT
    stored = (FIXTURES / version / "prepared.safetensors").read_bytes()
    assert (tmp_path / "prepared.safetensors").read_bytes() == stored
    assert load_prepared_model(tmp_path).plan == load_prepared_model(FIXTURES / version).plan


def test_frozen_statistics_are_part_of_a_model(tmp_path: Path) -> None:
    prepared = load_prepared_model(FIXTURES / "v5")
    assert not any(unit.frozen_statistics for unit in prepared.units().values())
    prepared.units()["stem"].frozen_statistics = True
    save_prepared_model(prepared, tmp_path)
    units = load_prepared_model(tmp_path).units()
    assert {name for name, unit in units.items() if unit.frozen_statistics} == {"stem"}


def test_format_1_without_any_chosen_scale_counts_as_uncalibrated(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "v1", tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "prepared.safetensors")
    placeholders = {n: t * 0 + 1 if n.endswith(".scale") else t for n, t in tensors.items()}
    save_file(placeholders, tmp_path / "prepared.safetensors")
    prepared = load_prepared_model(tmp_path)
    assert not any(quantizer.calibrated for quantizer in prepared.quantizers().values())
    assert not any(unit.weight_quantizer.calibrated for unit in prepared.units().values())


@pytest.mark.parametrize("version", [FORMAT + 1, 0, "1", None, True, [1]])
def test_unknown_formats_are_refused(version: object, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "v2", tmp_path, dirs_exist_ok=True)
    facts = json.loads((tmp_path / "prepared.json").read_text())
    (tmp_path / "prepared.json").write_text(json.dumps({**facts, "format": version}))
    with pytest.raises(InputError, match=r"known format(.|\n)*allowed: 1, 2, 3, 4, 5"):
        load_prepared_model(tmp_path)


def test_broken_facts_of_an_old_format_are_refused(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "v1", tmp_path, dirs_exist_ok=True)
    (tmp_path / "prepared.json").write_text('{"format": 1, "graph": {"modules": []}}')
    with pytest.raises(InputError, match="belong together"):
        load_prepared_model(tmp_path)
