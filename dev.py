"""Set up and run everything, with nothing but Python: ``python3 dev.py demo | check``.

demo    makes a virtual environment, trains the digits network, exports, simulates and verifies it
check   makes a virtual environment, then format, lint, types, import rules and all tests
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
MODELS = {"int4-npu": "prepared", "ort-cpu": "digits.pt2"}
"""Target to the model that the demo exports for it: trained on the grid, and float."""


def main() -> int:
    """Run the chosen job; returns the first exit code that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("job", choices=("demo", "check"))
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where to install")
    arguments = parser.parse_args()
    extra = {"demo": "examples", "check": "dev"}[arguments.job]
    python = _environment(arguments.venv, extra)
    jobs = {"demo": _demo, "check": _check}[arguments.job](python)
    # one thread a process: tests run side by side, and threads of several processes only wait
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if arguments.job == "check" else None
    for command in jobs:
        print("$", *(Path(command[0]).name, *command[1:]), flush=True)
        code = subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode
        if code:
            return code
    return 0


def _environment(folder: Path, extra: str) -> Path:
    """A virtual environment with this project in it; returns its interpreter."""
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = folder / scripts / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    install = ["install", "--quiet", "-c", "constraints.txt", "-e", f".[{extra}]"]
    subprocess.run([python, "-m", "pip", *install], cwd=ROOT, check=True)
    return python


def _demo(python: Path) -> list[list[str]]:
    """Train, then export, simulate and verify for each target."""
    deployq, out = [str(python), "-m", "deployq"], "out"
    jobs = [[str(python), "examples/digits.py", out]]
    for target, name in MODELS.items():
        bundle = f"{out}/digits-{target}"
        model = [f"{out}/{name}", "--calib", f"{out}/calib.npz"]
        jobs += [
            [*deployq, "export", *model, "--target", target, "-o", bundle],
            [*deployq, "simulate", bundle, "--input", f"{out}/test.npz"],
            [*deployq, "verify", bundle, "--data", f"{out}/test.npz"],
        ]
    return jobs


def _check(python: Path) -> list[list[str]]:
    """Everything that must be green before a change lands."""
    run = [str(python), "-m"]
    return [
        [*run, "ruff", "format", "--check", "."],
        [*run, "ruff", "check", "."],
        [*run, "mypy"],
        [str(python.parent / "lint-imports")],
        [*run, "pytest", "-n", "auto", "--dist", "loadfile"],  # a file's fixtures are made once
    ]


if __name__ == "__main__":
    sys.exit(main())
