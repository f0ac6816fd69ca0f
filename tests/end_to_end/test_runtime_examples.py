"""The shortest program of each runtime prints what a bundle's golden vectors say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

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
    pipeline.export(make_prepared("qnn-htp"), path, calibration, runtimes="litert,qnn-htp")
    return path


@pytest.mark.parametrize("name", ["onnxruntime", "litert", "qnn-htp"])
def test_the_shortest_program(name: str, bundle: Path) -> None:
    if presence(ADAPTERS[name]).problem:
        pytest.skip(f"{name} is not installed")
    program = EXAMPLES / f"in_{name.replace('-', '_')}.py"
    ran = subprocess.run(
        [sys.executable, str(program), str(bundle)], capture_output=True, text=True, check=True
    )
    printed = np.array([float(x) for x in _numbers(ran.stdout).split()])
    golden = np.load(bundle / "golden.npz")["output/head"][0]
    assert printed.shape == golden.shape and printed.argmax() == golden.argmax()


def _numbers(text: str) -> str:
    """What stands in the last brackets."""
    return text.rpartition("[")[2].partition("]")[0]
