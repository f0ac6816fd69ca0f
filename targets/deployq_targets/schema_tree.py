"""Walks in the JSON Schema of a profile: from a key to its node, and from a node to words.

A *location* is the list of keys and indices from the root of the TOML file to a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from deployq_targets.json_schema import Node, cached_schema

Location: TypeAlias = Sequence[str | int]


def find(location: Location) -> tuple[Node, list[str | int]]:
    """The node at a location, and the location without the parts that lead nowhere.

    pydantic puts the names of the options of a union into its locations; those lead nowhere.
    """
    node, kept = cached_schema(), []
    for part in location:
        child = _child(node, part)
        if child is not None:
            node = child
            kept.append(part)
    return node, kept


def keys(node: Node) -> list[str]:
    """The fixed keys of a table; none for tables with free keys and for values."""
    return list(node.get("properties", {}))


def fields(node: Node | None = None, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """The dotted path and the node of every key; a free key is shown as ``*``."""
    node = cached_schema() if node is None else node
    for key in [*keys(node), *(["*"] if _free(node) else [])]:
        child = _child(node, key)
        if child is not None:
            yield prefix + key, child
            yield from fields(_items(child), f"{prefix}{key}.")


def allowed(node: Node) -> str:
    """What a value of this node may be, in words."""
    if "enum" in node:
        return ", ".join(map(str, node["enum"]))
    if "const" in node:
        return str(node["const"])
    if "anyOf" in node:
        return ", or ".join(allowed(_resolved(option)) for option in node["anyOf"])
    if "prefixItems" in node:
        return "[" + ", ".join(allowed(_resolved(item)) for item in node["prefixItems"]) + "]"
    if node.get("type") == "array":
        return f"a list of: {allowed(_items(node))}"
    if node.get("type") == "object":
        return f"a table with {', '.join(keys(node)) or 'free keys'}"
    if "pattern" in node:
        return f"text of the form of {', '.join(node['examples'])}"
    return _TYPE_NAMES[node["type"]] + _limits(node)


_TYPE_NAMES = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true, false",
    "string": "text",
}
_LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<="}


def _limits(node: Node) -> str:
    return ",".join(f" {sign} {node[key]}" for key, sign in _LIMITS.items() if key in node)


def _child(node: Node, part: str | int) -> Node | None:
    if "anyOf" in node:
        children = (_child(_resolved(option), part) for option in node["anyOf"])
        return next((child for child in children if child is not None), None)
    if node.get("type") == "array":
        return _items(node, part) if isinstance(part, int) else None
    child = node.get("properties", {}).get(part) or _free(node)
    return None if child is None or isinstance(part, int) else _resolved(child)


def _free(node: Node) -> Node | None:
    """The node of every value of a table with free keys."""
    free = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    return free[0] if isinstance(free[0], dict) else None


def _items(node: Node, index: int = 0) -> Node:
    """The node of a list's items; the node itself where it is no list."""
    prefix = node.get("prefixItems")
    item = prefix[index] if prefix and index < len(prefix) else node.get("items", node)
    return _resolved(item)


def _resolved(node: Node) -> Node:
    """The node with its reference followed; its own words win over those of the definition."""
    if "$ref" not in node:
        return node
    definition = cached_schema()["$defs"][node["$ref"].rpartition("/")[2]]
    own = {key: value for key, value in node.items() if key != "$ref"}
    return {**definition, **own}
