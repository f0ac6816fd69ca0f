"""Progress of long work: a bar on a terminal, quiet lines in a log."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Advance = Callable[[str], None]
"""Told the name of the stage after each step of it."""


@contextmanager
def progress(total: int | None) -> Iterator[Advance]:
    """Report steps on standard error, ``total`` of them where that is known.

    On a terminal one rich bar; elsewhere one line when a stage begins. Of several processes of
    torchrun the first one reports.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ.get("RANK", "0") != "0":
        yield lambda stage: None
    elif sys.stderr.isatty():
        with _bar(total) as advance:
            yield advance
    else:
        yield _lines()


@contextmanager
def _bar(total: int | None) -> Iterator[Advance]:
    with _rich_bar() as bar:
        task = bar.add_task("start", total=total)
        yield lambda stage: bar.update(task, advance=1, description=stage)


def _rich_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


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


class Reporter(Protocol):
    """Progress of training: many steps, and a line now and then."""

    def begin(self, done: int, total: int) -> None:
        """State how many steps there are, and how many were done before."""

    def step(self, text: str) -> None:
        """One step, and what to say of it."""

    def line(self, text: str) -> None:
        """Something that stays to be read."""


class SilentReporter:
    """Says nothing."""

    def begin(self, done: int, total: int) -> None:
        pass

    def step(self, text: str) -> None:
        pass

    def line(self, text: str) -> None:
        pass


class _LogReporter(SilentReporter):
    """Lines on standard error, and nothing of single steps."""

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _BarReporter:
    """A rich bar that moves with every step; lines stand above it."""

    def __init__(self, bar: RichProgress) -> None:
        self.bar = bar
        self.task = bar.add_task("start", total=None)

    def begin(self, done: int, total: int) -> None:
        self.bar.update(self.task, completed=done, total=total)

    def step(self, text: str) -> None:
        self.bar.update(self.task, advance=1, description=text)

    def line(self, text: str) -> None:
        self.bar.console.print(text, highlight=False, markup=False)


@contextmanager
def training_progress() -> Iterator[Reporter]:
    """Report training on standard error: a bar on a terminal, a line an epoch in a log."""
    if sys.stderr.isatty():
        with _rich_bar() as bar:
            yield _BarReporter(bar)
    else:
        yield _LogReporter()
