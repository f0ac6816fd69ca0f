from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["contract", "geometry", "oracle.requantize", "oracle.lookup"])
def test_words_and_oracle_do_not_load_torch(module: str) -> None:
    code = f"import sys, deployq.arithmetic.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
