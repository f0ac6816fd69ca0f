"""A small profile that is good, and ways to change one key of it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from deployq_targets.loader import parse_profile
from deployq_targets.profile import TargetProfile

Changes: TypeAlias = Mapping[str, object]
Make: TypeAlias = Callable[[Changes], TargetProfile]
Table: TypeAlias = Callable[[Changes], dict[str, Any]]
Write: TypeAlias = Callable[..., Path]

GOOD = """
schema = 1
name = "board"
summary = "a chip for tests"
kind = "npu"
[container]
format = "onnx-qdq"
opset_prefer = 21
opset_max = 26
int_types = ["u8", "s8", "s4", "s32"]
[activation]
bits = [8]
types = ["u8", "s8"]
symmetry = "any"
zero_point = "any"
[weight]
bits = [8, 4]
types = ["s8", "s4"]
qmin = { 8 = -127, 4 = -7 }
symmetry = "symmetric"
zero_point = "zero"
granularity = ["channel", "tensor"]
axis = { Conv = 0, MatMul = -1, Gemm = "n" }
[bias]
form = "int"
[accumulator]
bits = 32
overflow = "reject"
[requant]
kind = "fixed"
rounding = "half_up"
multiplier_bits = 31
[graph]
unlisted_ops = "float"
relu_fusion = "range_redundant"
[[op]]
type = "Conv"
stride = [1, 3]
"""


def change(table: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """Set dotted keys; None takes a key away."""
    for path, value in changes.items():
        *sections, key = path.split(".")
        section = table
        for name in sections:
            section = section.setdefault(name, {})
        if value is None:
            del section[key]
        else:
            section[key] = value
    return table


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def table() -> Table:
    """The good profile with changed keys, as TOML values."""
    return lambda changes: change(tomllib.loads(GOOD), changes)


@pytest.fixture
def parse() -> Make:
    """The good profile with changed keys, through every check."""
    return lambda changes: parse_profile(change(tomllib.loads(GOOD), changes), "board.toml")


@pytest.fixture
def unchecked() -> Make:
    """The good profile with changed keys, checked by the schema alone."""

    def make(changes: Changes) -> TargetProfile:
        table = change(tomllib.loads(GOOD), changes)
        return TargetProfile.model_validate_json(json.dumps(table))

    return make


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file below the test's folder, the good profile unless another text is given."""

    def write_file(name: str, text: str = GOOD) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file
