"""From a name or a path to a checked TargetProfile.

Built-in profiles are the TOML files beside this module. Every profile that is loaded, parents
included, is whole, obeys the schema and does not contradict itself.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deployq.errors import ProfileError
from deployq_targets.contradictions import check_consistent
from deployq_targets.evidence import DEFAULT, check_path, field_paths
from deployq_targets.faults import as_profile_error
from deployq_targets.leaves import leaves, origins
from deployq_targets.merge import Table, merge
from deployq_targets.names import likely
from deployq_targets.profile import SCHEMA_VERSION, TargetProfile
from deployq_targets.prune import prune

SUFFIX = ".toml"


@dataclass(frozen=True)
class _Source:
    """A TOML file: how people name it, what tells it from others, and where it lies."""

    label: str
    identity: str
    file: Traversable
    folder: Path | None  # what relative parents are relative to; None inside the package


@dataclass(frozen=True)
class LoadedProfile:
    """A profile and where its values come from.

    Args:
        profile: checked.
        table: its TOML values, parents merged in.
        origins: dotted key (see ``leaves``) of every stated value to the file that states it: the
            name of a built-in profile, or a path.
    """

    profile: TargetProfile
    table: Table
    origins: Mapping[str, str]


def builtin_names() -> tuple[str, ...]:
    """The names of the built-in profiles, sorted."""
    names = (entry.name for entry in files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)))


def load_profile(name_or_path: str) -> TargetProfile:
    """Load a target profile.

    Args:
        name_or_path: the name of a built-in profile, or the path of a ``.toml`` file.

    Raises:
        ProfileError: unknown name, unreadable file, TOML syntax, a broken schema, a loop of
            ``extends``, or a profile that contradicts itself.
    """
    return load_stated(name_or_path).profile


def load_stated(name_or_path: str) -> LoadedProfile:
    """Load a target profile with the origin of every value; errors as ``load_profile``."""
    return _load(_locate(name_or_path, Path(), "target"), ())


def parse_profile(table: Table, where: str) -> TargetProfile:
    """Check a table of TOML values, parents already merged, and make it a profile.

    Args:
        table: what ``tomllib`` gives.
        where: what errors call it, usually the name of the file.

    Raises:
        ProfileError: the schema is broken or the profile contradicts itself.
    """
    _check_version(table, where)
    try:
        # strict JSON rules: no "8" for 8, but lists become tuples and words become enums
        profile = TargetProfile.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        raise as_profile_error(error, table, where) from None
    known = set(field_paths(profile.model_dump(mode="json")))
    for path in profile.evidence:
        if path != DEFAULT:
            check_path(path, known, where)
    check_consistent(profile, where)
    return profile


def _load(source: _Source, chain: tuple[_Source, ...]) -> LoadedProfile:
    """The profile of one file; ``chain`` holds the children on the way here."""
    _check_loop(source, chain)
    table: Table = _read(source)
    _check_version(table, source.label)
    own, inherited = table, {}
    reference = table.get("extends")
    if isinstance(reference, str):
        parent_source = _locate(reference, source.folder, f"{source.label}: extends")
        parent = _load(parent_source, (*chain, source))
        pruned = prune(parent.table, table.get("without"), source.label)
        inherited = {path: parent.origins[path] for path in leaves(pruned)}
        table = merge(pruned, table)
    profile = parse_profile(table, source.label)
    return LoadedProfile(profile, table, origins(own, source.label, inherited))


def _locate(reference: str, folder: Path | None, where: str) -> _Source:
    if folder is not None and (reference.endswith(SUFFIX) or "/" in reference):
        path = folder / reference
        return _Source(str(path), str(path.resolve()), path, path.parent)
    if reference in builtin_names():
        file = files(__package__) / f"{reference}{SUFFIX}"
        return _Source(reference, reference, file, None)
    raise ProfileError(
        where,
        "no built-in profile has this name",
        found=repr(reference),
        allowed=f"{', '.join(builtin_names())}, or the path of a {SUFFIX} file",
        next_step=f"did you mean {likely(reference, builtin_names())}?",
    )


def _check_loop(source: _Source, chain: tuple[_Source, ...]) -> None:
    if source.identity not in {child.identity for child in chain}:
        return
    raise ProfileError(
        f"{chain[-1].label}: extends",
        "parents of a profile must not lead back to it",
        found=" -> ".join(link.label for link in (*chain, source)),
        allowed="a chain that ends at a profile without extends",
        next_step="remove one extends of the chain",
    )


def _read(source: _Source) -> dict[str, Any]:
    try:
        text = source.file.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(source, text, str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ProfileError(
            source.label,
            "a profile is a readable TOML file in UTF-8",
            found=str(reason),
            next_step="check the path and the file's encoding",
        ) from None


def _syntax_error(source: _Source, text: str, message: str) -> ProfileError:
    stated = re.search(r"line (\d+)", message)  # without one, the fault is the end of the file
    line = int(stated[1]) if stated else len(text.splitlines())
    return ProfileError(
        f"{source.label}, line {line}",
        "the file is not TOML 1.0",
        found=message,
        next_step="correct the syntax at this line",
    )


def _check_version(table: Mapping[str, Any], where: str) -> None:
    version = table.get("schema")
    if version == SCHEMA_VERSION and type(version) is int:
        return
    raise ProfileError(
        f"{where}: schema",
        "a profile states the version of the schema it is written for",
        found="nothing" if version is None else json.dumps(version, default=str),
        allowed=str(SCHEMA_VERSION),
        next_step=f"write schema = {SCHEMA_VERSION} and follow that schema, or update deployq",
    )
