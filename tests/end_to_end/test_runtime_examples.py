"""The shortest program of each runtime prints what a bundle's golden vectors say, or what its
compiler made of the bundle's file.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq_exporters.adapters import ADAPTERS, presence

EXAMPLES = Path(__file__).parents[2] / "examples" / "runtimes"


@pytest.fixture(scope="module")
def bundle(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    path = tmp_path_factory.mktemp("examples") / "bundle"
    named = "litert,qnn-htp,openvino"
    pipeline.export(make_prepared("qnn-htp"), path, calibration, runtimes=named)
    return path


@pytest.fixture(scope="module")
def symmetric(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """Zero points of 0, as TensorRT has them."""
    path = tmp_path_factory.mktemp("examples") / "bundle"
    pipeline.export(make_prepared("tensorrt"), path, calibration, runtimes="tensorrt")
    return path


HTP = pytest.param("qnn-htp", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["onnxruntime", "litert", "openvino", HTP])
def test_the_shortest_program(name: str, bundle: Path) -> None:
    assert_classes(_run(name, bundle), bundle)


@pytest.mark.slow
def test_the_shortest_program_builds_an_engine(symmetric: Path) -> None:
    printed = _run("tensorrt", symmetric)
    assert printed.startswith("built by tensorrt")
    if torch.cuda.is_available():
        assert_classes(printed, symmetric)
    else:
        assert "not run: no CUDA device" in printed


def test_the_shortest_program_compiles_for_ethos_u(bundle: Path) -> None:
    printed = _run("ethos-u", bundle, "ethos-u65-512")
    facts = dict(line.split(maxsplit=1) for line in printed.splitlines()[-5:])
    assert int(facts["cycles"]) > 0 and float(facts["sram"].removesuffix(" KiB")) > 0
    assert "Ethos_U65_512" in printed and "CPU operators = 0" in printed


def _run(name: str, bundle: Path, *further: str) -> str:
    """What the program of a runtime prints; the test is skipped where the runtime is missing."""
    if presence(ADAPTERS[name]).problem:
        pytest.skip(f"{name} is not installed")
    program = EXAMPLES / f"in_{name.replace('-', '_')}.py"
    command = [sys.executable, str(program), str(bundle), *further]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def assert_classes(printed: str, bundle: Path) -> None:
    """The first golden vector's class."""
    found = np.array([float(x) for x in _numbers(printed).split()])
    golden = np.load(bundle / "golden.npz")["output/head"][0]
    assert found.shape == golden.shape and found.argmax() == golden.argmax()


def _numbers(text: str) -> str:
    """What stands in the last brackets."""
    return text.rpartition("[")[2].partition("]")[0]
