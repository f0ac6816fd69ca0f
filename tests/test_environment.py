"""The manifest's facts on versions, CPU and threads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployq import environment
from deployq.environment import environment_facts


def test_environment_names_versions_and_no_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    facts = environment_facts()
    assert facts == environment_facts() and json.dumps(facts)
    assert set(facts) == {"packages", "python", "machine", "cpu_flags", "threads"}
    monkeypatch.setattr(environment, "_CPUINFO", tmp_path / "cpuinfo")
    assert environment_facts(threads=3)["threads"] == 3
    assert environment_facts()["cpu_flags"] is None
    for text, flags in (("model name : x\n", None), ("flags : sse avx2 fma\n", ["avx2"])):
        (tmp_path / "cpuinfo").write_text(text)
        assert environment_facts()["cpu_flags"] == flags


def test_cpus_are_counted_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(environment.os, "sched_getaffinity", raising=False)
    assert environment_facts()["threads"] == (environment.os.cpu_count() or 1)


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert environment._version("no-such-distribution") is None


def test_the_packages_that_shape_the_bytes_are_named() -> None:
    packages = environment_facts()["packages"]
    assert isinstance(packages, dict)
    shapers = {"torch", "onnxscript", "safetensors", "ml_dtypes", "pydantic"}
    assert all(packages[name] for name in shapers)
