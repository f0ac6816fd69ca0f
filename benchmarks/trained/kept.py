"""Trained models in the folder of a run, by widths, method and seed; a second run finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deployq import pipeline
from deployq.graph.preparation import PreparedModel


@dataclass(frozen=True, order=True)
class Key:
    """Which model: ``W4A4``, ``saq``, 0."""

    widths: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.widths}.{self.method.replace(' ', '-')}.{self.seed}"


def keep(work: Path, key: Key, prepared: PreparedModel) -> PreparedModel:
    """Write a trained model, and give it back."""
    pipeline.save_prepared(prepared, work / str(key))
    return prepared


def kept_or(work: Path, key: Key, train: Callable[[], PreparedModel]) -> PreparedModel:
    """The model of an earlier run in the same folder, or a new one, which is kept."""
    if (work / str(key)).is_dir():
        return pipeline.load_prepared(work / str(key))
    return keep(work, key, train())


def kept_models(work: Path) -> Iterator[tuple[Key, Path]]:
    """Every model of the folder, in order.

    Raises:
        SystemExit: there is none.
    """
    found = sorted((_key(path.name), path) for path in work.glob("W*.*.*") if path.is_dir())
    if not found:
        raise SystemExit("no trained model in --work: name low_bits or two_bit_weights before")
    yield from found


def _key(name: str) -> Key:
    widths, method, seed = name.split(".")
    return Key(widths, method, int(seed))
