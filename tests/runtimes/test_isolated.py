"""Processes that end well, badly, by a signal, or not at all."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from deployq.runtimes.isolated import Ended, Ending, run_isolated


def ran(program: str, folder: Path, limit: float = 60.0) -> Ended:
    return run_isolated([sys.executable, "-c", program], folder, limit)


@pytest.mark.parametrize(("program", "ended"), [
    ("print('fine')", Ended(Ending.GOOD)),
    ("raise SystemExit(3)", Ended(Ending.FAILED, "exit code 3")),
    ("raise ValueError('no such operator')", Ended(Ending.FAILED, "ValueError: no such operator")),
    ("import os; os.abort()", Ended(Ending.CRASHED, "SIGABRT")),
    ("import os, sys; print('bad free', flush=True); os.kill(os.getpid(), 11)",
     Ended(Ending.CRASHED, "SIGSEGV: bad free")),
])  # fmt: skip
def test_how_a_process_ended(program: str, ended: Ended, tmp_path: Path) -> None:
    assert ran(program, tmp_path) == ended


def test_at_the_limit_a_process_goes_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    program = (
        "import subprocess, sys, time; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(child)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    assert ran(program, tmp_path, 3.0) == Ended(Ending.TIMED_OUT, "killed after 3 s")
    number = int(child.read_text())
    for _ in range(50):  # whoever adopted it may take a moment to bury it
        if not Path(f"/proc/{number}").exists() or _is_dead(number):
            return
        time.sleep(0.1)
    os.kill(number, 9)
    raise AssertionError("the child lives on")


def _is_dead(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
