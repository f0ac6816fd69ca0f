"""``without``: what a child does not inherit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deployq.errors import ProfileError
from deployq_targets.leaves import HEAD
from deployq_targets.merge import Table
from deployq_targets.names import nearest


def prune(parent: Table, paths: object, where: str) -> Table:
    """The parent's table without what stands at dotted paths; the parent is not changed.

    Entries of [[op]] go by their type, and all groups of a type go together.

    Args:
        parent: merged table of the parent.
        paths: the child's ``without``; anything but a list of texts is for the schema to refuse.
        where: what errors call the child.

    Raises:
        ProfileError: the parent has no such key.
    """
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        return parent
    for path in paths:
        known = list(_paths({key: parent[key] for key in parent if key not in HEAD}))
        if path not in known:
            raise ProfileError(
                f"{where}: without",
                "a child leaves out keys that its parent has",
                found=repr(path),
                allowed=f"nearest: {nearest(path, known)}",
                next_step="correct the dotted path",
            )
        parent = _without(parent, path.split("."))
        parent = {**parent, "evidence": _kept_tags(parent.get("evidence", {}), path)}
    return parent


def _without(table: Table, parts: list[str]) -> dict[str, Any]:
    key, *rest = parts
    if not rest:
        return {name: value for name, value in table.items() if name != key}
    if key == "op":
        kept = [
            _without(entry, rest[1:]) if rest[1:] and entry["type"] == rest[0] else entry
            for entry in table[key]
            if rest[1:] or entry["type"] != rest[0]
        ]
        return {**table, key: kept}
    return {**table, key: _without(table[key], rest)}


def _kept_tags(tags: Mapping[str, str], path: str) -> dict[str, str]:
    return {key: tag for key, tag in tags.items() if not f"{key}.".startswith(f"{path}.")}


def _paths(table: Table) -> Iterator[str]:
    for key, value in table.items():
        yield key
        if isinstance(value, Mapping):
            yield from (f"{key}.{path}" for path in _paths(value))
        elif key == "op":
            for entry in value:
                yield from (f"op.{entry['type']}", *(f"op.{entry['type']}.{k}" for k in entry))
