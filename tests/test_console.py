"""What goes to a person's screen."""

from __future__ import annotations

import pytest
from rich.table import Table

from deployq.console import LOG_WIDTH, open_console


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("tensor")
    table.add_row("layers[0].conv [/bold]")
    open_console().print(table)
    open_console().print("float: blocks[red].act")
    out = capsys.readouterr().out
    assert "layers[0].conv [/bold]" in out and "float: blocks[red].act" in out


def test_a_log_has_a_width_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    open_console().print(Table("wide", expand=True))
    assert max(map(len, capsys.readouterr().out.splitlines())) == LOG_WIDTH
