"""The JSON Schema for editors agrees with the loader."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # ships no types, and the stubs are not ours
import pytest

from deployq_targets import builtin_names, load_profile, profile_json_schema
from deployq_targets.schema_tree import allowed, fields

if TYPE_CHECKING:  # every folder of tests has a module of this name
    from conftest import Table


def validator() -> jsonschema.Draft202012Validator:
    schema = profile_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", builtin_names())
def test_builtin_files_are_valid(name: str) -> None:
    text = (files("deployq_targets") / f"{name}.toml").read_text(encoding="utf-8")
    validator().validate(tomllib.loads(text))
    validator().validate(load_profile(name).model_dump(mode="json", exclude_none=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"requant.roundin": "half_up"},
        {"requant.rounding": "half-up"},
        {"requant.kind": None},
        {"kind": None},
        {"schema": 2},
        {"compute.macs_per_cycle.w8": 2.0},
        {"op": [{"stride": [1, 2]}]},
    ],
    ids=str,
)
def test_what_the_loader_refuses_is_invalid(table: Table, changes: dict[str, object]) -> None:
    validator().validate(table({}))
    assert not validator().is_valid(table(changes))


def test_file_with_a_parent_may_leave_out_sections() -> None:
    child = {"schema": 1, "name": "a", "summary": "a child", "requant": {"kind": "exact"}}
    assert not validator().is_valid(child)
    validator().validate({**child, "extends": "int8-npu"})


@pytest.mark.parametrize(("path", "node"), [*fields()], ids=[path for path, _ in fields()])
def test_every_field_says_what_it_means_and_allows(path: str, node: dict[str, Any]) -> None:
    assert allowed(node)
    if not path.endswith("*"):  # a free key is described by its table
        assert node["description"].endswith(".")


def test_schema_is_a_copy() -> None:
    profile_json_schema()["properties"].clear()
    assert profile_json_schema()["properties"]
