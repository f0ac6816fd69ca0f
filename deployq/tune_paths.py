"""Where ``deployq tune`` may write; looked at before the search, which takes long."""

from __future__ import annotations

import os
from pathlib import Path

from deployq.bundle import MANIFEST
from deployq.errors import InputError


def check_output(folder: Path) -> None:
    """Refuse what cannot take a prepared model; an older one there is replaced.

    Raises:
        InputError: a bundle, whose manifest names the files in it (law 8), a file, or a folder that
            may not be written.
    """
    if os.path.lexists(folder / MANIFEST):
        raise _refusal("-o", folder, "a bundle: its manifest would not hold any more")
    if os.path.lexists(folder) and not folder.is_dir():
        raise _refusal("-o", folder, "a file")
    _check_parent("-o", folder)


def check_checkpoint(path: Path) -> None:
    """Refuse what can be no file.

    Raises:
        InputError: a folder, or a place that may not be written.
    """
    if path.is_dir():
        raise _refusal("--checkpoint", path, "a folder")
    _check_parent("--checkpoint", path.parent)


def _check_parent(flag: str, folder: Path) -> None:
    """The folder, or the nearest one above it that is there, takes new files."""
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    if not there.is_dir():
        raise _refusal(flag, folder, f"{there.name}, which is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _refusal(flag, folder, "a folder that may not be written")


def _refusal(flag: str, path: Path, found: str) -> InputError:
    wanted = "a file of its own" if flag == "--checkpoint" else "a folder of its own"
    return InputError(
        f"{flag} {path}",
        f"a tuned model or checkpoint goes into {wanted}",
        found=found,
        allowed="a new path, or an older one of the same kind",
        next_step="choose another path",
    )
