"""The manifest of a bundle: canonical JSON that names every file and carries its own digest.

Sorted keys, two spaces, newline at the end::

    {"facts": {...}, "files": [{"path", "sha256", "size"}, ...], "format": "deployq-bundle",
     "schema_version": 2, "sha256": digest of this text without this entry}

Version 1, which is read and no longer written, has no ``sha256`` of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from deployq.errors import InputError, UnsafeFileError

MANIFEST = "manifest.json"
SCHEMA_VERSION = 2
_CLOSED = ConfigDict(extra="forbid", frozen=True, strict=True)


class BundleFile(BaseModel):
    """One file: its posix path relative to the bundle, size in bytes and SHA-256 in hex."""

    model_config = _CLOSED
    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """A manifest of any version that is still read."""

    model_config = _CLOSED
    format: Literal["deployq-bundle"]
    schema_version: Literal[1, 2]
    facts: dict[str, JsonValue]
    files: list[BundleFile]
    sha256: str | None = None


def manifest_text(facts: Mapping[str, object], files: Sequence[BundleFile]) -> str:
    """The text of a manifest of the present version.

    Raises:
        ValueError, TypeError: ``facts`` is not JSON (a programming error).
    """
    content: dict[str, Any] = {
        "format": "deployq-bundle",
        "schema_version": SCHEMA_VERSION,
        "facts": dict(facts),
        "files": [file.model_dump() for file in files],
    }
    digest = hashlib.sha256(_canonical(content).encode()).hexdigest()
    return _canonical({**content, "sha256": digest})


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Read and check the manifest of the bundle at ``path``.

    Raises:
        InputError: none there, one of another schema, or one that was changed after it was written.
        UnsafeFileError: it is a link, or names a file outside its folder.
    """
    file = path / MANIFEST
    _check_present(path, file)
    try:
        text = file.read_bytes()
        manifest = Manifest.model_validate_json(text)
    except OSError as error:
        refuse_unreadable(error)
    except ValidationError as error:
        raise _other_schema(file, error) from error
    _check_names(file, [listed.path for listed in manifest.files])
    _check_digest(file, text, manifest)
    return manifest


def _check_present(path: Path, file: Path) -> None:
    if not os.path.lexists(file):
        raise InputError(
            str(path),
            "a bundle is a folder with a manifest.json",
            found=_what_is(path),
            next_step="give the folder that deployq export wrote",
        )
    if file.is_symlink() or not file.is_file():
        raise UnsafeFileError(str(file), "the manifest is a regular file", found="a link or folder")


def _what_is(path: Path) -> str:
    if path.is_dir():
        return "no manifest.json"
    return "a file" if path.exists() else "no such folder"


def _other_schema(file: Path, error: ValidationError) -> InputError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return InputError(
        f"{file}: {where}" if where else str(file),
        "not a manifest of this schema",
        found=first["msg"],
        allowed="format deployq-bundle, schema_version 1 or 2",
        next_step="export again with this version of deployq",
    )


def _check_digest(file: Path, text: bytes, manifest: Manifest) -> None:
    """Any byte that differs from what was written shows; in version 1 only those of the list do."""
    if not _is_as_written(text, manifest):
        raise InputError(
            str(file),
            "a manifest is as it was written: its sha256 is that of its own text",
            found=f"sha256 {str(manifest.sha256)[:12]}... over another text",
            next_step="export again; do not edit files inside a bundle",
        )


def _is_as_written(text: bytes, manifest: Manifest) -> bool:
    if manifest.schema_version == 1:
        return manifest.sha256 is None
    try:
        return text == manifest_text(manifest.facts, manifest.files).encode()
    except ValueError:  # NaN, which is read but never written
        return False


def _check_names(file: Path, names: Sequence[str]) -> None:
    for name in names:
        if name == MANIFEST or not is_portable(name):
            raise UnsafeFileError(
                str(file),
                "a manifest names files inside its own folder",
                found=repr(name),
                allowed="relative posix paths without '..'",
                next_step="do not use this bundle",
            )
    if len(set(names)) < len(names):
        raise InputError(str(file), "a manifest names each file once", next_step="export again")


def is_portable(name: str) -> bool:
    """Whether a posix name stays in its folder and can be written everywhere."""
    parts = name.split("/")
    bad = "\\" in name or ":" in parts[0] or not name.isprintable()
    return not bad and all(part not in ("", ".", "..") for part in parts)


def refuse_unreadable(error: OSError) -> NoReturn:
    """Raise the error of a file that the system does not let us read."""
    raise InputError(
        str(error.filename),
        "every file of a bundle is readable",
        found=error.strerror or "",
        next_step="mend the permissions",
    ) from error
