"""The flags that the benchmarks on trained networks share."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


def parser(description: str | None) -> argparse.ArgumentParser:
    """``--models``, ``--work`` and ``--json-out``."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--models", help="names with commas; default: all")
    made.add_argument("--work", type=Path, help="keep built files here, and use what is there")
    made.add_argument("--json-out", type=Path, help="a file that gets the line of JSON as well")
    return made


@contextmanager
def work_folder(path: Path | None) -> Iterator[Path]:
    """The named folder, or one that goes away."""
    if path is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
    else:
        path.mkdir(parents=True, exist_ok=True)
        yield path


def chosen_parts(names: str, known: Collection[str]) -> list[str]:
    """The parts of a list with commas.

    Raises:
        SystemExit: an unknown name; the message lists the known ones.
    """
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: not one of {', '.join(known)}")
    return names.split(",")
