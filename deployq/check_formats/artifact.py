"""How a report names the file that was checked."""

from __future__ import annotations

from pathlib import Path

from deployq.bundle import CANONICAL_FILE


def artifact_path(source: Path) -> str:
    """The path as the user gave it, with slashes; of an absolute one only the last part.

    An absolute path tells of the machine and means nothing elsewhere.
    """
    shown = Path(source.name) if source.is_absolute() else source
    return (shown / CANONICAL_FILE if source.is_dir() else shown).as_posix()
