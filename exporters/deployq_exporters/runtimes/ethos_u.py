"""Arm Ethos-U through its compiler, Vela: what runs there, and the cycles that Vela estimates.

Vela computes nothing: it compiles a ``.tflite`` file and counts. It runs in a process of its own,
which may not end.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployq.errors import InputError
from deployq_exporters.runtimes.vela_report import VelaReport, read_report
from deployq_targets import TargetProfile

PACKAGE, MODULE = "ethos-u-vela", "ethosu.vela"
ACCELERATOR = "accelerator-config"
OPTIONS = (ACCELERATOR, "system-config", "memory-mode", "arena-cache-size", "optimise")
"""Of ``verify.options``: what is handed to Vela as flags of these names."""

SECONDS = 300.0
"""A file of a few megabytes takes one."""


def installed() -> bool:
    """True where Vela can be started."""
    return importlib.util.find_spec("ethosu") is not None


@dataclass(frozen=True)
class VelaOutput:
    """What Vela makes.

    Args:
        report: its tables.
        file: a ``.tflite`` file whose operators on the Ethos-U are one custom operator.
    """

    report: VelaReport
    file: bytes


def vela_options(profile: TargetProfile) -> dict[str, str]:
    """Of what a profile states, what Vela is told."""
    options = profile.verify.options
    return {key: options[key] for key in OPTIONS if key in options}


def compile_by_vela(
    content: bytes, profile: TargetProfile, *, seconds: float = SECONDS
) -> VelaOutput:
    """Compile a file for the target; nothing is left behind.

    Args:
        content: a ``.tflite`` file of integer operators.
        profile: its ``verify.options`` name the accelerator and may name Vela's system
            configuration, memory mode, cache size and strategy.
        seconds: until Vela is stopped.

    Raises:
        InputError: the package is missing, the profile names no accelerator, Vela refuses the file
            or dies (in its own last words), or it takes longer.
    """
    if not installed():
        raise InputError(
            PACKAGE,
            "Vela compiles .tflite files for Ethos-U",
            found=f"no package {PACKAGE}",
            next_step="pip install 'deployq[ethos-u]'",
        )
    flags = _flags(profile)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(content)
        command = [
            sys.executable, "-m", MODULE, *flags, "--verbose-performance", "--output-dir", name,
            str(folder / "model.tflite"),
        ]  # fmt: skip
        said = _run(command, folder, seconds)
        tables = [_rows(folder, pattern) for pattern in ("*_summary_*.csv", "*_per-layer.csv")]
        made = folder / "model_vela.tflite"
        if not tables[0] or not made.is_file():
            raise _refused(said)
        file = made.read_bytes()
    report = read_report(tables[0][0], tables[1], importlib.metadata.version(PACKAGE))
    return VelaOutput(report, file)


def _flags(profile: TargetProfile) -> list[str]:
    options = vela_options(profile)
    if ACCELERATOR not in options:
        raise InputError(
            f"{profile.name}: verify.options",
            "Vela compiles for one accelerator",
            found=", ".join(profile.verify.options) or "nothing",
            allowed=ACCELERATOR,
            next_step='state it in the profile: options = { accelerator-config = "ethos-u55-256" }',
        )
    return [part for key, value in options.items() for part in (f"--{key}", value)]


def _run(command: Sequence[str], folder: Path, seconds: float) -> str:
    """What Vela said, on both of its streams."""
    try:
        done = subprocess.run(
            command, cwd=folder, timeout=seconds, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise InputError(
            "Vela",
            f"Vela ends within {seconds:g} seconds",
            found="it was stopped",
            next_step="compile the .tflite file by hand, or allow more time",
        ) from error
    if done.returncode:
        raise _refused(done.stdout + done.stderr, f"exit code {done.returncode}")
    return done.stdout


def _refused(said: str, otherwise: str = "it wrote no summary") -> InputError:
    lines = [line for line in said.strip().splitlines() if line.strip()]
    last = lines[-1].strip()[:300] if lines else otherwise
    return InputError(
        "Vela",
        "Vela compiles the .tflite file",
        found=last,
        next_step="change what it names, or compile the file by hand for the whole output",
    )


def _rows(folder: Path, pattern: str) -> list[Mapping[str, str]]:
    """The rows of the one table of this name; none where Vela wrote none."""
    for path in folder.glob(pattern):
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return []
