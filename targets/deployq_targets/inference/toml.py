"""A draft as a TOML file that a person goes on with: what is shown says by what, in a comment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from deployq_targets.inference.fact import Draft, Fact, Facts

SECTIONS = ("container", "activation", "weight", "bias", "accumulator", "requant", "graph")

LONGEST = 100
"""Characters of a comment; a name in a file may have any length."""


def draft_text(draft: Draft) -> str:
    """The profile as :func:`deployq_targets.load_profile` reads it."""
    return "\n".join(_lines(draft)) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    yield "# What a file shows is tagged E: the target took it, and what lies beyond is not known."
    yield "# No file shows these; what has a value here is a placeholder, tagged U:"
    for key, text, placeholder in draft.questions:
        stated = "" if placeholder is None else f" = {_value(placeholder)}"
        yield f"#   {key}{stated}: {text}"
    yield ""
    for key, value in draft.head.items():
        if key != "evidence":
            yield f"{key} = {_value(value)}"
    yield from (f"{q.key} = {_value(q.placeholder)}" for q in draft.questions if q.key == "kind")
    yield from ("", "[evidence]")
    yield from (f"{_key(path)} = {_value(tag)}" for path, tag in draft.head["evidence"].items())
    for section in SECTIONS:
        yield from ("", f"[{section}]")
        yield from _section(draft, section)
    for entry in draft.operators:
        yield from ("", "[[op]]")
        yield from _entry(entry)


def _section(draft: Draft, section: str) -> Iterator[str]:
    """Keys of one section; a table inside it stands in one line."""
    lines: dict[str, tuple[Any, list[str]]] = {}
    for path, fact in draft.facts.items():
        if path.startswith(f"{section}."):
            _, key, *inner = path.split(".")
            value, shown = lines.setdefault(key, ({}, []))
            shown.append(fact.shown)
            lines[key] = (_put(value, inner, fact.value), shown)
    for key, (value, shown) in lines.items():
        yield _line(key, Fact(value, "; ".join(shown)))
    for path, _, placeholder in draft.questions:
        if path.startswith(f"{section}.") and placeholder is not None:
            yield f"{path.removeprefix(f'{section}.')} = {_value(placeholder)}"


def _put(table: dict[str, Any], path: list[str], value: Any) -> Any:
    if not path:
        return value
    return table | {path[0]: _put(table.get(path[0], {}), path[1:], value)}


def _entry(entry: Facts) -> Iterator[str]:
    return (_line(key, fact) for key, fact in entry.items())


def _line(key: str, fact: Fact) -> str:
    shown = "".join(c if c.isprintable() else " " for c in fact.shown)
    comment = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."
    return f"{_key(key)} = {_value(fact.value)}  # {comment}"


def _key(key: str) -> str:
    """Bare where TOML allows it."""
    bare = key.replace("_", "").replace("-", "").isalnum() and key.isascii()
    return key if bare else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(str(k))} = {_value(v)}" for k, v in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)  # texts, whole numbers and truth values are spelt as in JSON
