"""Open a zip archive from an unknown source: names, links, sizes and checksums are checked."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployq.errors import InputError, UnsafeFileError

_ENCRYPTED = 0x1  # general purpose flag, bit 0
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


@dataclass(frozen=True)
class SafeZip:
    """An open archive whose members passed the checks; nothing is ever extracted to disk."""

    path: Path
    archive: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]

    def read(self, name: str) -> bytes:
        """The bytes of a member, at most the size that the archive declares.

        Raises:
            InputError: the member is damaged.
        """
        try:
            return self.archive.read(self.members[name])
        except (*_DAMAGE, OSError) as error:
            raise InputError(
                f"{self.path}: {name}",
                "the archive member is damaged",
                found=str(error),
                next_step="copy or write the file again",
            ) from error


@contextmanager
def open_zip(path: Path, *, max_bytes: int, next_step: str) -> Iterator[SafeZip]:
    """Open ``path`` after checking its directory.

    Args:
        path: the archive.
        max_bytes: limit of the uncompressed sizes, all members together. Readers never
            decompress more than a member declares, so this bounds the memory.
        next_step: for the errors: what the user can do to get a good file.

    Raises:
        InputError: missing, no zip archive, encrypted, or over ``max_bytes``.
        UnsafeFileError: a name that is absolute, has '..', a backslash or a drive, comes
            twice, or a member that is a symbolic link.
    """
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise InputError(
            str(path), "cannot read the file", found=str(error.strerror), next_step="check the path"
        ) from error
    except _DAMAGE as error:
        raise InputError(
            str(path),
            "the file is not a zip archive",
            found=str(error),
            next_step=next_step,
        ) from error
    with archive:
        infos = archive.infolist()
        _check_size(path, infos, max_bytes)
        for info in infos:
            _check_member(path, info, next_step)
        members = {info.filename: info for info in infos}
        if len(members) < len(infos):
            _refuse(path, "a name comes twice", "each name once", next_step)
        yield SafeZip(path, archive, members)


def _check_size(path: Path, infos: list[zipfile.ZipInfo], max_bytes: int) -> None:
    total = sum(info.file_size for info in infos)
    if total > max_bytes:
        raise InputError(
            str(path),
            "the archive unpacks to more than the limit",
            found=f"{total} bytes",
            allowed=f"at most {max_bytes} bytes",
            next_step="split the file or raise the limit",
        )


def _check_member(path: Path, info: zipfile.ZipInfo, next_step: str) -> None:
    name = info.filename
    parts = name.split("/")
    drive = parts[0][1:2] == ":"
    if name.startswith("/") or ".." in parts or "\\" in name or drive or not name.isprintable():
        _refuse(path, f"member {name!r}", "relative names without '..'", next_step)
    # The upper half of external_attr is the Unix mode; 0 where the writer set none.
    if stat.S_ISLNK(info.external_attr >> 16):
        _refuse(path, f"member {name!r} is a symbolic link", "regular members", next_step)
    if info.flag_bits & _ENCRYPTED:
        raise InputError(f"{path}: {name}", "the member is encrypted", next_step=next_step)


def _refuse(path: Path, found: str, allowed: str, next_step: str) -> None:
    raise UnsafeFileError(
        str(path),
        "an archive member has a safe name of its own",
        found=found,
        allowed=allowed,
        next_step=next_step,
    )
