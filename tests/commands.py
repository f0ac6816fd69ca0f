"""The command line in this process, as a user has it: output and exit code."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from deployq import cli


class Ran(NamedTuple):
    """What a command printed, and its exit code."""

    out: str
    err: str
    code: int


def run_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> Ran:
    """Through the entry point: it is main that turns errors into exit codes."""
    monkeypatch.setattr("sys.argv", ["deployq", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    printed = capsys.readouterr()
    return Ran(printed.out, printed.err, code)
