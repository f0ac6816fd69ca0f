"""Evidence tags by dotted path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deployq.errors import ProfileError
from deployq_targets import load_profile
from deployq_targets.words import Evidence

if TYPE_CHECKING:  # every folder of tests has a module of this name
    from conftest import Make

TAGS = {"default": "S", "requant": "D", "requant.multiplier_bits": "U", "op.Conv.stride": "E"}


@pytest.mark.parametrize(
    ("path", "tag"),
    [
        ("requant.multiplier_bits", "U"),
        ("requant.rounding", "D"),
        ("requant", "D"),
        ("op.Conv.stride", "E"),
        ("op.Conv.kernel_h", "S"),
        ("weight.qmin.4", "S"),
        ("name", "S"),
    ],
)
def test_longest_path_wins(parse: Make, path: str, tag: str) -> None:
    assert parse({"evidence": TAGS}).evidence_of(path) == tag


def test_without_tags_nothing_is_confirmed(parse: Make) -> None:
    assert parse({}).evidence_of("requant.kind") is Evidence.UNCONFIRMED


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("requant.multiplier_bit", "requant.multiplier_bits"),
        ("op.Cnv.stride", "op.Conv.stride"),
        ("weight.qmin.5", "weight.qmin"),
    ],
)
def test_path_that_names_no_field_is_refused(parse: Make, path: str, near: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse({"evidence": {path: "S"}})
    assert caught.value.where == "board.toml: evidence"
    assert near in caught.value.allowed
    with pytest.raises(ProfileError, match="board: evidence"):
        parse({}).evidence_of(path)


def test_unknown_tag_is_refused(parse: Make) -> None:
    with pytest.raises(ProfileError, match=r"evidence\.name"):
        parse({"evidence": {"name": "Z"}})


def test_builtin_tags_its_placeholders() -> None:
    assert load_profile("int4-npu").evidence_of("compute.macs_per_cycle.w4a8") == "U"
