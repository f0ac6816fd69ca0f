"""The bundle: a folder whose manifest names every file in it with its size and SHA-256.

``manifest.json`` is canonical JSON (sorted keys, two spaces, newline at the end)::

    {"facts": {...}, "files": [{"path", "sha256", "size"}, ...],
     "format": "deployq-bundle", "schema_version": 1}

It holds no time, host name or path of the machine, so two exports are byte-identical.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from deployq.environment import environment_facts
from deployq.errors import InputError, UnsafeFileError
from deployq.staging import recover, replacing_folder

__all__ = [
    "MANIFEST",
    "Bundle",
    "BundleFile",
    "environment_facts",
    "read_bundle",
    "recover",
    "write_manifest",
    "writing_bundle",
]

MANIFEST = "manifest.json"
_CLOSED = ConfigDict(extra="forbid", frozen=True, strict=True)


class BundleFile(BaseModel):
    """One file: its posix path relative to the bundle, size in bytes and SHA-256 in hex."""

    model_config = _CLOSED
    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Manifest(BaseModel):
    model_config = _CLOSED
    format: Literal["deployq-bundle"] = "deployq-bundle"
    schema_version: Literal[1] = 1
    facts: dict[str, JsonValue]
    files: list[BundleFile]


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
            process writes it, or the file system refuses.
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
    manifest = {
        "format": "deployq-bundle",
        "schema_version": 1,
        "facts": dict(facts),
        "files": [_describe(folder, name).model_dump() for name in _file_names(folder)],
    }
    text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check every file in it.

    Raises:
        InputError: no bundle here; or names the first file that differs, is missing or extra.
        UnsafeFileError: a link in the folder, or a name in the manifest that leaves it.
    """
    manifest = _read_manifest(path)
    listed = {file.path: file for file in manifest.files}
    present = set(_file_names(path))
    for name in sorted(present | set(listed)):
        _check_file(path, name, listed.get(name), name in present)
    files = tuple(listed[name] for name in sorted(listed))
    return Bundle(path, MappingProxyType(manifest.facts), files)


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


def _read_manifest(path: Path) -> _Manifest:
    file = path / MANIFEST
    if not os.path.lexists(file):
        raise InputError(
            str(path),
            "a bundle is a folder with a manifest.json",
            found="no manifest.json" if path.is_dir() else "no such folder",
            next_step="give the folder that deployq export wrote",
        )
    if file.is_symlink() or not file.is_file():
        raise UnsafeFileError(str(file), "the manifest is a regular file", found="a link or folder")
    try:
        manifest = _Manifest.model_validate_json(file.read_bytes())
    except OSError as error:
        _refuse_unreadable(error)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{file}: {where}" if where else str(file),
            "not a manifest of this schema",
            found=first["msg"],
            allowed="format deployq-bundle, schema_version 1",
            next_step="export again with this version of deployq",
        ) from error
    _check_names(file, [listed.path for listed in manifest.files])
    return manifest


def _check_names(file: Path, names: Sequence[str]) -> None:
    for name in names:
        if name == MANIFEST or not _is_portable(name):
            raise UnsafeFileError(
                str(file),
                "a manifest names files inside its own folder",
                found=repr(name),
                allowed="relative posix paths without '..'",
                next_step="do not use this bundle",
            )
    if len(set(names)) < len(names):
        raise InputError(str(file), "a manifest names each file once", next_step="export again")


def _is_portable(name: str) -> bool:
    parts = name.split("/")
    bad = "\\" in name or ":" in parts[0] or not name.isprintable()
    return not bad and all(part not in ("", ".", "..") for part in parts)


def _file_names(folder: Path) -> list[str]:
    """Posix names of all files but the manifest, sorted; refuses links and odd names."""
    names = []
    for root, folders, files in os.walk(folder, onerror=_refuse_unreadable):
        for entry in (Path(root, name) for name in folders + files):
            name = entry.relative_to(folder).as_posix()
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                raise UnsafeFileError(
                    str(entry),
                    "a bundle holds regular files and folders only",
                    found="a link or a device",
                    next_step="put the file itself there",
                )
            if not _is_portable(name):
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
        _refuse_unreadable(error)


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise InputError(
        str(error.filename),
        "every file of a bundle is readable",
        found=error.strerror or "",
        next_step="mend the permissions",
    ) from error


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
        listed = {file.path for file in _read_manifest(path).files}
        foreign = [name for name in _file_names(path) if name not in listed]
    except InputError as error:
        return f"a folder that is no bundle ({error.rule}: {error.found})"
    return f"a file that is not the bundle's: {foreign[0]}" if foreign else ""
