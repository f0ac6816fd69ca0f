"""The JSON Schema of a profile: for editors, and for the words of our own errors."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, TypeAlias

from deployq_targets.profile import TargetProfile

Node: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def profile_json_schema() -> Node:
    """The JSON Schema (draft 2020-12) of a profile file, as a fresh dictionary.

    A file with ``extends`` may leave out what its parent states; whether the two together are
    whole is for ``load_profile`` to say.
    """
    return deepcopy(cached_schema())


@lru_cache(maxsize=1)
def cached_schema() -> Node:
    """The same, shared: not to be changed."""
    root: Node = _tidy(TargetProfile.model_json_schema())
    root["$schema"] = DIALECT
    _relax_children(root)
    return root


def _tidy(node: Any) -> Any:
    """Without titles, and without null: TOML has none."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidy = {key: _tidy(value) for key, value in node.items() if not _is_noise(key, value)}
    if "patternProperties" in tidy:
        tidy["additionalProperties"] = False
    if "anyOf" not in tidy:
        return tidy
    options = [option for option in tidy.pop("anyOf") if option.get("type") != "null"]
    return {**(options[0] if len(options) == 1 else {"anyOf": options}), **tidy}


def _is_noise(key: str, value: object) -> bool:
    untold = value is None or isinstance(value, dict)
    return (key == "title" and isinstance(value, str)) or (key == "default" and untold)


def _relax_children(root: Node) -> None:
    """Sections' required keys are asked for only in a file without ``extends``."""
    required = {key: _pop_required(root, node) for key, node in root["properties"].items()}
    own = ["schema", "name", "summary"]
    root["if"] = {"not": {"required": ["extends"]}}
    root["then"] = {
        "required": [key for key in root["required"] if key not in own],
        "properties": {key: {"required": keys} for key, keys in required.items() if keys},
    }
    root["required"] = own


def _pop_required(root: Node, node: Mapping[str, Any]) -> list[str]:
    if "$ref" not in node:
        return []
    definition: Node = root["$defs"][node["$ref"].rpartition("/")[2]]
    keys: list[str] = definition.pop("required", [])
    return keys
