"""``extends``: a parent's tables under a child's.

Tables are merged key by key and the child wins; lists are replaced whole. [[op]] entries are the
exception: one of the same ``type`` and ``group`` is merged into the parent's, others are appended,
so a child takes an operator away with ``status = "unsupported"``. Name and summary are the child's
own. A parent's evidence tag ends where the child states the tagged value itself. What the child
names in ``without`` is taken from the parent first, with its tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, TypeGuard

from deployq_targets.words import Group

Table: TypeAlias = Mapping[str, Any]

OWN_KEYS = ("name", "summary", "extends", "without")


def merge(parent: Table, child: Table) -> dict[str, Any]:
    """The child's table, completed by the parent's; neither is changed."""
    inherited = {key: value for key, value in parent.items() if key not in OWN_KEYS}
    merged = _overlay(inherited, child)
    tags = child.get("evidence", {})
    if isinstance(tags, Mapping):
        merged["evidence"] = {**_surviving_tags(parent, child), **tags}
    return merged


def _overlay(parent: Table, child: Table) -> dict[str, Any]:
    merged = dict(parent)
    for key, value in child.items():
        under = parent.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            merged[key] = _overlay(under, value)
        elif key == "op" and _is_table_list(value) and _is_table_list(under):
            merged[key] = _overlay_ops(under, value)
        else:
            merged[key] = value
    return merged


def _overlay_ops(parent: list[Table], child: list[Table]) -> list[Table]:
    merged = {_identity(entry): entry for entry in parent}
    appended: list[Table] = []
    for entry in child:
        under = merged.get(_identity(entry))
        if under is None:
            appended.append(entry)  # twice the same stays twice, for the rule to find
        else:
            merged[_identity(entry)] = _overlay(under, entry)
    return [*merged.values(), *appended]


def _identity(entry: Table) -> tuple[str, str]:
    return str(entry.get("type")), str(entry.get("group", Group.ANY))


def _is_table_list(value: object) -> TypeGuard[list[Table]]:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _surviving_tags(parent: Table, child: Table) -> dict[str, str]:
    stated = tuple(_leaves(child))
    return {
        path: tag
        for path, tag in parent.get("evidence", {}).items()
        if not any(f"{path}.".startswith(f"{leaf}.") for leaf in stated)
    }


def _leaves(table: Table) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from (f"{key}.{leaf}" for leaf in _leaves(value))
        elif key == "op" and _is_table_list(value):
            yield from (f"op.{entry.get('type')}.{leaf}" for entry in value for leaf in entry)
        else:
            yield key
