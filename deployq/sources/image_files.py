"""The image files of a folder or a .zip: their names and bytes; nothing is unpacked to disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployq.errors import InputError
from deployq.safe_zip import open_zip

MAX_BYTES = 32 << 30
"""Of a .zip, unpacked."""
_NEXT = "put the images and labels.csv into a plain .zip"


@dataclass(frozen=True)
class ImageFiles:
    """Files below one root.

    Args:
        where: what errors call the root.
        names: relative posix paths, sorted; hidden files are left out.
        read: name to bytes.
    """

    where: str
    names: tuple[str, ...]
    read: Callable[[str], bytes]


@contextmanager
def open_files(path: Path) -> Iterator[ImageFiles]:
    """The files of a folder or a ``.zip``.

    Raises:
        InputError: it cannot be read, or is over :data:`MAX_BYTES`.
        UnsafeFileError: a member of the .zip with an unsafe name.
    """
    if path.is_dir():
        found = (p.relative_to(path) for p in path.rglob("*") if p.is_file())
        yield ImageFiles(str(path), _shown([p.as_posix() for p in found]), _reader(path))
        return
    with open_zip(path, max_bytes=MAX_BYTES, next_step=_NEXT) as archive:
        names = [name for name in archive.members if not name.endswith("/")]
        yield ImageFiles(str(path), _shown(names), archive.read)


def _shown(names: list[str]) -> tuple[str, ...]:
    """Without what a file browser leaves behind: ``.DS_Store``, ``__MACOSX/``."""
    hidden = (".", "__MACOSX")
    kept = [n for n in names if not any(part.startswith(hidden) for part in n.split("/"))]
    return tuple(sorted(kept))


def _reader(folder: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise InputError(
                f"{folder}: {name}",
                "cannot read the file",
                found=error.strerror or str(error),
                next_step="mend its permissions, or take it out",
            ) from error

    return read
