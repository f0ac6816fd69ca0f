"""Evol-Q in two processes: the same decisions, whatever a rank drops or cannot compute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calibration.evolq_variants import VARIANTS, told
from tests.test_cli_train import ENVIRONMENT


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "tests.calibration.evolq_variants", str(folder)],
        env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", list(VARIANTS))
def test_two_processes_decide_as_one_does(name: str, by_two: Path, tmp_path: Path) -> None:
    prepared = VARIANTS[name].model(tmp_path)
    alone = told(VARIANTS[name].search(prepared), prepared)
    for rank in ("rank0", "rank1"):
        assert json.loads((by_two / rank / f"{name}.json").read_text()) == alone
