"""What a run says of itself: lines of JSON, TensorBoard where it was asked for, progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployq.errors import InputError
from deployq.progress import Reporter
from deployq.whole_file import write_whole

METRICS_FILE = "metrics.jsonl"


class RunLog:
    """The log of one run, in its first process; every other process has none.

    Args:
        output: the run's folder, which exists.
        done: lines that stand; those of a killed run after them are taken away.
        epochs: whole epochs before, whose scalars stand.
        tensorboard: folder of event files.
        reporter: progress for people.

    Raises:
        InputError: no TensorBoard is installed, no log where lines of it stand, or the file system
            refuses.
    """

    def __init__(
        self, output: Path, done: int, epochs: int, tensorboard: Path | None, reporter: Reporter
    ) -> None:
        self.path = output / METRICS_FILE
        self.reporter = reporter
        self.writer = None if tensorboard is None else _writer(tensorboard, epochs)
        lines = _standing(self.path) if done else []
        write_whole(self.path, "".join(lines[:done]), "metrics")

    def epoch(self, facts: Mapping[str, Any]) -> None:
        """One line for an evaluated model; its numbers are scalars of TensorBoard."""
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(facts, sort_keys=True) + "\n")
        if self.writer is not None:
            for name, value in facts.items():
                if isinstance(value, (int, float)) and name != "epoch":
                    self.writer.add_scalar(name, value, facts["epoch"])
            self.writer.flush()
        self.reporter.line(epoch_line(facts))

    def close(self) -> None:
        """Let go of the event file."""
        if self.writer is not None:
            self.writer.close()


def epoch_line(facts: Mapping[str, Any]) -> str:
    """An epoch for people."""
    parts = [
        f"{name}loss {facts[f'{key}loss']:.4f}, accuracy {100 * facts[f'{key}accuracy']:.2f} %"
        for name, key in (("", ""), ("validation ", "validation_"))
        if f"{key}loss" in facts
    ]
    return f"epoch {facts['epoch']} ({facts['phase']}): {'; '.join(parts)}"


def _standing(path: Path) -> list[str]:
    """Lines of a run that goes on."""
    try:
        return path.read_text(encoding="utf-8").splitlines(True)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            str(path),
            "a run goes on with its log",
            found="none" if isinstance(error, FileNotFoundError) else str(error),
            allowed=f"the {METRICS_FILE} of the run",
            next_step="put it back, or an empty file: the lines before are lost then",
        ) from error


def _writer(folder: Path, epochs: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "--tensorboard",
            "event files are written with TensorBoard",
            found="it is not installed",
            next_step="pip install deployq[tensorboard], or read metrics.jsonl",
        ) from error
    try:
        return SummaryWriter(str(folder), purge_step=epochs + 1)
    except OSError as error:
        raise InputError(
            "--tensorboard",
            "event files are written into a folder",
            found=f"{folder}: {error.strerror or error}",
            allowed="a folder that exists or can be made, and that this user may write",
            next_step="name another folder",
        ) from error
