"""A command in a process of its own, with a time limit: a runtime that dies takes nothing along."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

SHOWN = 300
"""Characters of a process's last line."""


class Ending(StrEnum):
    """How a process ended."""

    GOOD = "good"
    FAILED = "failed"  # it said so itself
    CRASHED = "crashed"  # a signal ended it
    TIMED_OUT = "timed out"


@dataclass(frozen=True)
class Ended:
    """What became of a process.

    Args:
        ending: how it ended.
        said: its last line, or what ended it; empty where all is good.
    """

    ending: Ending
    said: str = ""


def run_isolated(command: Sequence[str], folder: Path, limit_seconds: float) -> Ended:
    """Run and wait; at the limit the process and all that it started are killed.

    Args:
        command: program and arguments.
        folder: where its output is kept, as ``log``.
        limit_seconds: above 0.
    """
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            code = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            _kill(process)
            return Ended(Ending.TIMED_OUT, f"killed after {limit_seconds:g} s")
        except BaseException:
            _kill(process)
            raise
    if code == 0:
        return Ended(Ending.GOOD)
    last = _last_line(log)
    if code < 0:
        return Ended(Ending.CRASHED, f"{_signal_name(-code)}{last and f': {last}'}")
    return Ended(Ending.FAILED, last or f"exit code {code}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip()[:SHOWN] if lines else ""
