"""Progress of long work: a bar on a terminal, quiet lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[str], None]
"""Told the name of the stage after each step of it."""


@contextmanager
def progress(total: int | None) -> Iterator[Advance]:
    """Report steps on standard error, ``total`` of them where that is known.

    On a terminal one rich bar; elsewhere one line when a stage begins.
    """
    if sys.stderr.isatty():
        with _bar(total) as advance:
            yield advance
    else:
        yield _lines()


@contextmanager
def _bar(total: int | None) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("start", total=total)
        yield lambda stage: bar.update(task, advance=1, description=stage)


def _lines() -> Advance:
    seen: set[str] = set()

    def advance(stage: str) -> None:
        if stage not in seen:
            seen.add(stage)
            print(stage, file=sys.stderr, flush=True)

    return advance


def notice(text: str) -> None:
    """Tell a person something that was done on the way; standard output stays as it is."""
    print(f"note: {text}", file=sys.stderr, flush=True)
