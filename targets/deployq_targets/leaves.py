"""Single values of a profile by dotted key, and the file that each comes from.

An [[op]] entry goes by its type, and by its group where it has one: ``op.Conv[depthwise].stride``.
Its status is always a value: an entry that says no more says that the operator runs in integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deployq_targets.merge import Table
from deployq_targets.words import Group, OpStatus

HEAD = ("schema", "name", "summary", "extends", "without", "sources", "evidence")
"""Keys that tell of the file and not of the target."""


def leaves(table: Table) -> dict[str, Any]:
    """Dotted key to value, in the order of the table."""
    return dict(_leaves({key: value for key, value in table.items() if key not in HEAD}))


def _leaves(table: Table) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if key == "op":
            yield from _op_leaves(value)
        elif isinstance(value, Mapping):
            yield from ((f"{key}.{path}", leaf) for path, leaf in _leaves(value))
        else:
            yield key, value


def _op_leaves(entries: list[Table]) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        name = op_name(entry)
        yield f"{name}.status", entry.get("status", OpStatus.INTEGER.value)
        for key, value in entry.items():
            if key not in ("type", "group", "status"):
                yield f"{name}.{key}", value


def op_name(entry: Table) -> str:
    """``op.Conv``, or ``op.Conv[depthwise]``."""
    group = str(entry.get("group", Group.ANY))
    return f"op.{entry['type']}" + (f"[{group}]" if group != Group.ANY else "")


def untagged(path: str) -> str:
    """The path under which evidence speaks of a leaf: without the group."""
    head, bracket, rest = path.partition("[")
    return head + rest.partition("]")[2] if bracket else path


def origins(table: Table, label: str, parents: Mapping[str, str]) -> dict[str, str]:
    """Dotted key to the file that states it: this table's own keys, else the parents'."""
    own = leaves(table)
    implied = {f"{op_name(entry)}.status" for entry in table.get("op", []) if "status" not in entry}
    return {path: label for path in own} | {
        path: parent for path, parent in parents.items() if path not in own or path in implied
    }
