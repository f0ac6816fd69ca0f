"""What pydantic found, in the frame of all our errors: where, rule, found, allowed, next step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deployq.errors import ProfileError
from deployq_targets.names import nearest
from deployq_targets.schema_tree import allowed, fields, find, keys

UNKNOWN = "extra_forbidden"
MISSING = "missing"
BAD_VALUE = "value_error"  # raised by a validator of ours, with a text of ours
_URGENCY = {UNKNOWN: 0, MISSING: 2}
BAD_KEY = "[key]"  # pydantic's last part of a location when a free key itself is wrong


def as_profile_error(error: ValidationError, table: Mapping[str, Any], where: str) -> ProfileError:
    """The first fault; unknown keys come first, as they often are the cause of missing ones."""
    by_key = _by_key(error, table)
    faults = sorted(by_key.items(), key=lambda item: _URGENCY.get(item[1]["type"], 1))
    key, fault = faults[0]
    describe = {UNKNOWN: _unknown, MISSING: _missing}.get(fault["type"], _wrong_value)
    described = describe(key, fault)
    more = f"; {len(faults) - 1} more to mend after it" if len(faults) > 1 else ""
    return ProfileError(
        f"{where}: {key}",
        described["rule"],
        found=described["found"],
        allowed=described["allowed"],
        next_step=described["next_step"] + more,
    )


def _by_key(error: ValidationError, table: Mapping[str, Any]) -> dict[str, ErrorDetails]:
    """One fault for each key. A union reports each option: the most telling one is kept."""
    by_key: dict[str, ErrorDetails] = {}
    for fault in error.errors():
        key = dotted(fault, table)
        if key not in by_key or fault["type"] == BAD_VALUE:
            by_key[key] = fault
    inner = [key.rpartition("[")[0] for key in by_key]
    return {key: fault for key, fault in by_key.items() if key not in inner}


def dotted(fault: ErrorDetails, table: Mapping[str, Any]) -> str:
    """``op.Conv.stride[1]``: entries of [[op]] go by their type where they have one."""
    parts: list[str] = []
    value: Any = table
    for part in _location(fault):
        value = _value(value, part)
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(value, Mapping) and isinstance(value.get("type"), str):
            parts.append(value["type"])
        else:
            parts[-1] += f"[{part}]"
    return ".".join(parts)


def _location(fault: ErrorDetails) -> list[str | int]:
    location = fault["loc"]
    if fault["type"] == UNKNOWN:
        return [*find(location[:-1])[1], location[-1]]
    return find([part for part in location if part != BAD_KEY])[1]


def _value(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def _unknown(key: str, fault: ErrorDetails) -> dict[str, str]:
    section, _ = find(fault["loc"][:-1])
    prefix, _, name = key.rpartition(".")
    dot = f"{prefix}." if prefix else ""
    return {
        "rule": "the schema has no such key",
        "found": name,
        "allowed": ", ".join(keys(section)),
        "next_step": f"did you mean {_meant(name, dot, keys(section))}?",
    }


def _meant(name: str, dot: str, siblings: list[str]) -> str:
    """The nearest key of the same table, else the same key of another, else any."""
    close = nearest(name, siblings, cutoff=0.6)
    elsewhere = {path.rpartition(".")[2]: path for path, _ in reversed([*fields()])}
    if not close and name in elsewhere:
        return elsewhere[name]
    return dot + (close or nearest(name, siblings))


def _missing(key: str, fault: ErrorDetails) -> dict[str, str]:
    node, _ = find(fault["loc"])
    return {
        "rule": f"a required key is missing: {_meaning(node)}",
        "found": "nothing",
        "allowed": allowed(node),
        "next_step": f"state {key}",
    }


def _wrong_value(key: str, fault: ErrorDetails) -> dict[str, str]:
    node, _ = find(fault["loc"])
    if fault["loc"][-1:] == (BAD_KEY,):
        reason = fault["msg"]
        return {
            "rule": f"a key of this table has the wrong form: {reason}",
            "found": str(fault["input"]),
            "allowed": reason,
            "next_step": f"rename {key}",
        }
    reason = str(fault["ctx"]["error"]) if fault["type"] == BAD_VALUE else _meaning(node)
    return {
        "rule": reason,
        "found": json.dumps(fault["input"]),
        "allowed": allowed(node),
        "next_step": f"change {key}",
    }


def _meaning(node: Mapping[str, Any]) -> str:
    """The first line of the field's description."""
    return str(node.get("description", "a value of the table above")).partition("\n")[0]
