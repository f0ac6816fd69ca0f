"""``without``: what a child does not inherit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deployq.errors import ProfileError
from deployq_targets import load_profile
from deployq_targets.loader import load_stated

if TYPE_CHECKING:  # every folder of tests has a module of this name
    from conftest import Write


def child(without: str, text: str = "") -> str:
    head = 'schema = 1\nname = "child"\nsummary = "a child"\nextends = "int8-npu"\n'
    return f"{head}without = [{without}]\n{text}"


def test_section_starts_anew(write: Write) -> None:
    text = child('"requant"', '[requant]\nkind = "float32"\nrounding = "half_even"\n')
    requant = load_profile(str(write("a.toml", text))).requant
    assert (requant.multiplier_bits, requant.shift_min, requant.left_shift) == (None, None, None)


def test_single_keys_and_operators_go(write: Write) -> None:
    path = write("a.toml", child('"memory.shared_bytes", "op.Softmax", "op.Erf.status"'))
    profile = load_profile(str(path))
    assert profile.memory.shared_bytes is None and profile.memory.onchip_bw == 4.0e9
    assert profile.op_rule("Softmax") is None
    assert profile.op_status("Erf") == "integer"  # the entry stays, without its status


def test_tags_of_what_goes_go_too(write: Write) -> None:
    text = child('"requant.left_shift", "compute"')
    loaded = load_stated(str(write("a.toml", text)))
    assert "requant.left_shift" not in loaded.profile.evidence
    assert "compute.macs_per_cycle" not in loaded.profile.evidence
    assert not [key for key in loaded.origins if key.startswith("compute")]


def test_grandchild_inherits_the_result_and_not_the_word(write: Write) -> None:
    write("a.toml", child('"align"'))
    text = 'schema = 1\nname = "b"\nsummary = "b"\nextends = "a.toml"\n'
    profile = load_profile(str(write("b.toml", text)))
    assert profile.align.cin is None and profile.without == ()


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("memory.shared_byte", "memory.shared_bytes"),
        ("op.Softmx", "op.Softmax"),
        ("name", "nearest: "),
    ],
)
def test_key_that_the_parent_lacks_names_the_nearest(write: Write, path: str, near: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile(str(write("a.toml", child(f'"{path}"'))))
    assert caught.value.where.endswith("a.toml: without")
    assert near in caught.value.allowed


def test_required_key_has_to_be_stated_again(write: Write) -> None:
    with pytest.raises(ProfileError, match=r"a\.toml: requant: a required key is missing"):
        load_profile(str(write("a.toml", child('"requant"'))))


def test_text_instead_of_a_list_is_refused_by_the_schema(write: Write) -> None:
    text = child("").replace("[]", '"requant"')
    with pytest.raises(ProfileError, match=r"a\.toml: without"):
        load_profile(str(write("a.toml", text)))
