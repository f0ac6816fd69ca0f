"""Evidence tags: a dotted path says which value, a letter says how it became known.

A tag holds for everything below its path, the longest path wins, ``default`` is for the rest,
and without one a value counts as unconfirmed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from deployq.errors import ProfileError
from deployq_targets.names import nearest
from deployq_targets.words import Evidence

DEFAULT = "default"


def tag_of(tags: Mapping[str, Evidence], path: str) -> Evidence:
    """The tag that holds for a dotted path."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        tag = tags.get(".".join(parts[:length]))
        if tag is not None:
            return tag
    return tags.get(DEFAULT, Evidence.UNCONFIRMED)


def check_path(path: str, known: Collection[str], where: str) -> None:
    """Refuse a path that names no field.

    Raises:
        ProfileError: with the nearest path.
    """
    if path in known:
        return
    raise ProfileError(
        f"{where}: evidence",
        "a tag stands at 'default' or at the dotted path of a field that this profile has",
        found=repr(path),
        allowed=f"nearest: {nearest(path, known)}",
        next_step="correct the path; entries of [[op]] go by their type, as op.Conv.kernel_h",
    )


def field_paths(table: Mapping[str, object]) -> Iterator[str]:
    """The dotted path of every section and value of a dumped profile."""
    for key, value in table.items():
        yield key
        for child in _tables(value):
            yield from (f"{key}.{path}" for path in field_paths(child))


def _tables(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, Mapping):
        yield value
    elif isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        yield from ({item["type"]: item} for item in value)  # [[op]] is the only such list
