"""Tables that people write in TOML: read, held to a closed model, paths from the file's folder."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError

from deployq.errors import InputError
from deployq.user_code import names_code
from deployq_targets.names import nearest

M = TypeVar("M", bound=BaseModel)


def read_table(path: Path, what: str) -> dict[str, Any]:
    """The values of a TOML file.

    Args:
        what: the file in a word, as ``settings``.

    Raises:
        InputError: no such file, not UTF-8, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            str(path),
            f"{what} are a readable TOML file in UTF-8",
            found=str(reason),
            next_step="check the path and the syntax",
        ) from error


def parse_table(table: Mapping[str, Any], model: type[M], where: str, what: str) -> M:
    """The model that a table states.

    Args:
        where: the file, for errors.
        what: what errors say has no such key.

    Raises:
        InputError: an unknown key, with the nearest one; a missing key; a value of another type.
    """
    try:
        # strict JSON rules: no "8" for 8, but lists become tuples
        return model.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        raise _fault(error, model, where, what) from error
    except InputError as error:
        raise InputError(
            f"{where}: {error.where}",
            error.rule,
            found=error.found,
            allowed=error.allowed,
            next_step=error.next_step,
        ) from error


def unknown_key(
    location: tuple[int | str, ...], model: type[BaseModel], where: str, what: str
) -> InputError:
    """The error for a key that a model does not have."""
    known = _keys(model, location[:-1])
    *tables, name = map(str, location)
    key = nearest(name, known)
    return InputError(
        f"{where}: {'.'.join([*tables, name])}",
        f"{what} has no such key",
        found=name,
        allowed=", ".join(known),
        next_step=f"did you mean {'.'.join([*tables, key])}?",
    )


def from_folder(value: str, folder: Path) -> str:
    """A path of the file, from its folder; names of code stay."""
    return value if names_code(value) else str(folder / value)


def target_from_folder(value: str, folder: Path) -> str:
    """The path of a profile, from the folder of the file; names of builtin ones stay."""
    return str(folder / value) if value.endswith(".toml") or "/" in value else value


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def _fault(error: ValidationError, model: type[BaseModel], where: str, what: str) -> InputError:
    """The first fault; unknown keys first."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] not in _UNKNOWN)
    location, fault = faults[0]["loc"], faults[0]
    if fault["type"] in _UNKNOWN:
        return unknown_key(location, model, where, what)
    missing = fault["type"] == "missing" or fault["type"] == "missing_argument"
    key = ".".join(str(part) for part in location if str(part) not in ("int", "tuple[int, int]"))
    return InputError(
        f"{where}: {key}",
        "a required key is missing" if missing else "a key has a value of its type and range",
        found="nothing" if missing else json.dumps(fault["input"], default=str)[:80],
        allowed=fault["msg"],
        next_step=f"state {key}" if missing else f"change {key}",
    )


def _keys(model: type[BaseModel], tables: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at a location, those that are the program's own left out."""
    kind: Any = model
    for part in tables:
        kind = _inner(kind, part)
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return [name for name, field in kind.model_fields.items() if not field.exclude]


def _inner(kind: Any, part: int | str) -> Any:
    """The type of the value at a key or index, None of an option left out."""
    if get_origin(kind) in (dict, tuple, list):
        found = next(option for option in reversed(get_args(kind)) if option is not Ellipsis)
    else:
        found = get_type_hints(kind)[str(part)]
    options = [option for option in get_args(found) if option is not NoneType]
    return options[0] if NoneType in get_args(found) else found
