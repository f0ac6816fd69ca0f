"""The bundle: a folder whose manifest names every file in it with its size and SHA-256.

``manifest.json`` (:mod:`deployq.manifest`) holds no time, host name or path of the machine, so two
exports are byte-identical.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import JsonValue

from deployq.environment import environment_facts
from deployq.errors import InputError, UnsafeFileError
from deployq.manifest import (
    MANIFEST,
    BundleFile,
    is_portable,
    manifest_text,
    read_manifest,
    refuse_unreadable,
)
from deployq.staging import recover, replacing_folder

__all__ = [
    "CANONICAL_FILE",
    "MANIFEST",
    "Bundle",
    "BundleFile",
    "check_if_bundle",
    "environment_facts",
    "read_bundle",
    "recover",
    "write_manifest",
    "writing_bundle",
]

CANONICAL_FILE = "model.onnx"
"""What no bundle lacks, and no folder of a prepared model alone has."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were all there and unchanged when it was read."""

    path: Path
    facts: Mapping[str, JsonValue]
    files: tuple[BundleFile, ...]


def writing_bundle(path: Path) -> AbstractContextManager[Path]:
    """Yield a staging folder that replaces the bundle at ``path`` when the block ends well.

    Fill the folder and call ``write_manifest`` last. Missing parent folders are created. The
    old bundle stays as it is until the new one is on disk; on an exception it stays for good.

    Raises:
        InputError: ``path`` is a file, a link or a folder with other things in it, another
            process writes it, or the file system refuses, be it for want of space in the block.
        RuntimeError: the block wrote no manifest (a programming error).
    """
    return _writing(path)


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    with replacing_folder(path, check_replaceable) as staging:
        yield staging
        if not (staging / MANIFEST).is_file():
            raise RuntimeError("call write_manifest before the block ends")


def write_manifest(folder: Path, facts: Mapping[str, object]) -> None:
    """Write ``manifest.json`` over every file now in ``folder``.

    Args:
        folder: holds regular files and folders only.
        facts: anything JSON can say, without NaN and infinity.

    Raises:
        UnsafeFileError: a link, device or unportable file name in the folder.
        ValueError, TypeError: ``facts`` is not JSON (a programming error).
    """
    files = [_describe(folder, name) for name in _file_names(folder)]
    (folder / MANIFEST).write_text(manifest_text(facts, files), encoding="utf-8")


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check every file in it.

    Raises:
        InputError: no bundle here; or names the first file that differs, is missing or extra.
        UnsafeFileError: a link in the folder, or a name in the manifest that leaves it.
    """
    manifest = read_manifest(path)
    listed = {file.path: file for file in manifest.files}
    present = set(_file_names(path))
    for name in sorted(present | set(listed)):
        _check_file(path, name, listed.get(name), name in present)
    files = tuple(listed[name] for name in sorted(listed))
    return Bundle(path, MappingProxyType(manifest.facts), files)


def check_if_bundle(folder: Path) -> None:
    """Check every file of a bundle; the folder of a prepared model alone has no manifest.

    Raises:
        InputError, UnsafeFileError: as :func:`read_bundle`.
    """
    if (folder / MANIFEST).exists() or (folder / CANONICAL_FILE).exists():
        read_bundle(folder)


def _check_file(path: Path, name: str, listed: BundleFile | None, present: bool) -> None:
    found = ""
    if listed is None:
        found = "a file that the manifest does not name"
    elif not present:
        found = "nothing: the file is missing"
    elif (now := _describe(path, name)) != listed:
        found = f"{now.size} bytes, SHA-256 {now.sha256[:12]}..."
    if found:
        raise InputError(
            str(path / name),
            "a bundle holds exactly the files of its manifest",
            found=found,
            allowed=f"{listed.size} bytes, SHA-256 {listed.sha256[:12]}..." if listed else "",
            next_step="export again; do not edit files inside a bundle",
        )


def _file_names(folder: Path) -> list[str]:
    """Posix names of all files but the manifest, sorted; refuses links and odd names."""
    names = []
    for root, folders, files in os.walk(folder, onerror=refuse_unreadable):
        for entry in (Path(root, name) for name in folders + files):
            name = entry.relative_to(folder).as_posix()
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                raise UnsafeFileError(
                    str(entry),
                    "a bundle holds regular files and folders only",
                    found="a link or a device",
                    next_step="put the file itself there",
                )
            if not is_portable(name):
                raise UnsafeFileError(
                    str(entry),
                    "file names in a bundle are portable",
                    found=repr(name),
                    allowed="printable, without backslash",
                    next_step="rename the file",
                )
            if entry.is_file() and name != MANIFEST:
                names.append(name)
    return sorted(names)


def _describe(folder: Path, name: str) -> BundleFile:
    try:
        with open(folder / name, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return BundleFile(path=name, size=stream.tell(), sha256=digest)
    except OSError as error:
        refuse_unreadable(error)


def check_replaceable(path: Path) -> None:
    """Refuse to replace what deployq did not write: a user's folder is never deleted."""
    found = ""
    if path.is_symlink():
        found = "a symbolic link"
    elif path.exists() and not path.is_dir():
        found = "a file"
    elif path.is_dir() and any(path.iterdir()):
        found = _foreign_content(path)
    if found:
        raise InputError(
            str(path),
            "only a bundle or an empty folder is replaced",
            found=found,
            allowed="a new path, an empty folder or an older bundle",
            next_step="choose another path, or move what is there away",
        )


def _foreign_content(path: Path) -> str:
    try:
        listed = {file.path for file in read_manifest(path).files}
        foreign = [name for name in _file_names(path) if name not in listed]
    except InputError as error:
        return f"a folder that is no bundle ({error.rule}: {error.found})"
    return f"a file that is not the bundle's: {foreign[0]}" if foreign else ""
