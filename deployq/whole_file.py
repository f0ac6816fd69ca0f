"""Write one file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployq.errors import InputError


def check_writable(path: Path, what: str) -> None:
    """Refuse what cannot be written, before the work that fills it.

    Args:
        what: the file in a word, as ``page``.

    Raises:
        InputError: no such folder, or a folder of this name.
    """
    folder = path.absolute().parent
    found = "a folder" if path.is_dir() else "" if folder.is_dir() else "no such folder"
    if not found and not os.access(folder, os.W_OK):
        found = "a folder that may not be written"
    if found:
        raise _unwritable(path, what, found)


def write_whole(path: Path, text: str, what: str) -> None:
    """Write UTF-8; a file of this name is replaced in one step.

    Raises:
        InputError: the file system refuses.
    """
    with whole_file(path, what) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[Path]:
    """A path of the same suffix to write to: it takes the place of ``path`` when the block ends
    well, and is removed otherwise.

    Raises:
        InputError: the file system refuses.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, what, error.strerror or str(error)) from error


def _unwritable(path: Path, what: str, found: str) -> InputError:
    return InputError(
        str(path),
        f"the {what} must be writable",
        found=found,
        allowed="a file in a folder that exists and is yours",
        next_step="name another path",
    )
