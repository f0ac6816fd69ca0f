"""Public names: a list, light to import, callable after every module is imported."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import deployq

PACKAGES = ("deployq", "deployq_targets", "deployq_calibration", "deployq_exporters")


def test_importing_deployq_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'numpy', 'pydantic'}"
    code = f"import sys, deployq; print(sorted({heavy} & set(sys.modules)))"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert result.stdout.strip() == "[]", result.stderr


def test_public_names_are_callable_after_importing_every_submodule() -> None:
    for package in PACKAGES:
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    assert all(callable(getattr(deployq, name)) for name in deployq.__all__)
    assert set(deployq.__all__) <= set(dir(deployq))


def test_no_module_bears_the_name_of_a_public_function() -> None:
    found = [
        module.name
        for package in PACKAGES
        for module in pkgutil.walk_packages(
            importlib.import_module(package).__path__, f"{package}."
        )
    ]
    assert not {name.rpartition(".")[2] for name in found} & set(deployq.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(deployq, "quantise")
