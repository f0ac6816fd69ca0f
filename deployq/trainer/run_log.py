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
        epochs: whole epochs whose lines stand; those of a killed run after them are taken away.
        tensorboard: folder of event files.
        reporter: progress for people.

    Raises:
        InputError: no TensorBoard is installed, or the file system refuses.
    """

    def __init__(
        self, output: Path, epochs: int, tensorboard: Path | None, reporter: Reporter
    ) -> None:
        self.path = output / METRICS_FILE
        self.reporter = reporter
        self.writer = None if tensorboard is None else _writer(tensorboard, epochs)
        lines = self.path.read_text(encoding="utf-8").splitlines(True) if epochs else []
        write_whole(self.path, "".join(lines[:epochs]), "metrics")

    def epoch(self, facts: Mapping[str, Any]) -> None:
        """One line for an epoch; its numbers are scalars of TensorBoard."""
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
    text = f"epoch {facts['epoch']} ({facts['phase']}): loss {facts['loss']:.4f}, "
    text += f"accuracy {100 * facts['accuracy']:.2f} %"
    if "validation_accuracy" in facts:
        text += f"; validation loss {facts['validation_loss']:.4f}, "
        text += f"accuracy {100 * facts['validation_accuracy']:.2f} %"
    return text


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
    return SummaryWriter(str(folder), purge_step=epochs + 1)
