"""Parents: what a child inherits, and which chains are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deployq.errors import ProfileError
from deployq_targets import load_profile
from deployq_targets.merge import merge
from deployq_targets.words import Evidence, OpStatus

if TYPE_CHECKING:  # every folder of tests has a module of this name
    from conftest import Write


def child(parent: str, text: str = "", name: str = "child") -> str:
    head = f'schema = 1\nname = "{name}"\nsummary = "a child"\n'
    return f'{head}extends = "{parent}"\n{text}'


def refusal(path: object) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        load_profile(str(path))
    return caught.value


def test_child_of_a_builtin_inherits_and_wins(write: Write) -> None:
    text = child("int8-npu", '[requant]\nrounding = "double"\n[weight]\nqmin = { 8 = -128 }\n')
    profile = load_profile(str(write("a.toml", text)))
    assert profile.contract().default.rounding.value == "double"
    assert profile.contract().default.multiplier_bits == 31
    assert profile.weight_qtype(8).qmin == -128
    assert profile.name == "child"


def test_child_of_a_relative_path_inherits(write: Write) -> None:
    write("base/board.toml")
    path = write("a.toml", child("base/board.toml", "[accumulator]\nbits = 40\n"))
    profile = load_profile(str(path))
    assert profile.contract().accumulator.bits == 40
    assert profile.container.opset_prefer == 21


def test_grandchild_inherits_from_both(write: Write) -> None:
    write("board.toml")
    write("b.toml", child("board.toml", "[align]\ncin = 8\n"))
    path = write("a.toml", child("b.toml", "[align]\ncout = 4\n"))
    align = load_profile(str(path)).align
    assert (align.cin, align.cout) == (8, 4)


def test_lists_are_replaced() -> None:
    merged = merge({"weight": {"bits": [8]}}, {"weight": {"bits": [4, 2]}})
    assert merged["weight"]["bits"] == [4, 2]


def test_ops_are_merged_by_type_and_group(write: Write) -> None:
    write("board.toml")
    ops = (
        '[[op]]\ntype = "Conv"\ncin_max = 64\n'
        '[[op]]\ntype = "Conv"\ngroup = "depthwise"\nstatus = "unsupported"\n'
    )
    profile = load_profile(str(write("a.toml", child("board.toml", ops))))
    merged, depthwise = profile.op
    assert (merged.stride, merged.cin_max) == ((1, 3), 64)
    assert depthwise.status is OpStatus.UNSUPPORTED


def test_op_stated_twice_in_a_child_is_refused(write: Write) -> None:
    write("board.toml")
    path = write("a.toml", child("board.toml", '[[op]]\ntype = "Mul"\n' * 2))
    assert refusal(path).where.endswith("a.toml: op.Mul")


def test_evidence_ends_where_the_child_states_the_value(write: Write) -> None:
    tags = '[evidence]\ndefault = "S"\n"requant.rounding" = "E"\n"op.Conv.stride" = "D"\n'
    base = '[requant]\nrounding = "double"\n[[op]]\ntype = "Conv"\nstride = [1, 2]\n'
    write("b.toml", child("int8-npu", tags + base))
    kept = load_profile(str(write("a.toml", child("b.toml"))))
    assert kept.evidence_of("requant.rounding") is Evidence.EXECUTED
    changed = load_profile(str(write("c.toml", child("b.toml", base))))
    assert changed.evidence_of("requant.rounding") is Evidence.SOURCE
    assert "op.Conv.stride" not in changed.evidence


@pytest.mark.parametrize(
    "links", [["a"], ["a", "b"], ["a", "b", "c"]], ids=["itself", "two files", "three files"]
)
def test_loop_names_the_chain(write: Write, links: list[str]) -> None:
    followers = [*links[1:], links[0]]
    for name, parent in zip(links, followers, strict=True):
        path = write(f"{name}.toml", child(f"{parent}.toml", name=name))
    error = refusal(path.parent / "a.toml")
    chain = [part.rpartition("/")[2] for part in error.found.split(" -> ")]
    assert chain == [f"{name}.toml" for name in [*links, links[0]]]
    assert error.rule == "parents of a profile must not lead back to it"


def test_loop_through_another_spelling_is_found(write: Write) -> None:
    path = write("a.toml", child("../" + write("a.toml").parent.name + "/a.toml"))
    assert "must not lead back" in refusal(path).rule


def test_unknown_parent_names_the_nearest(write: Write) -> None:
    error = refusal(write("a.toml", child("int8-nnpu")))
    assert error.where.endswith("a.toml: extends")
    assert error.next_step == "did you mean int8-npu?"


def test_fault_of_a_parent_is_reported_in_the_parent(write: Write, good: str) -> None:
    write("board.toml", good.replace("overflow", "overflw"))
    error = refusal(write("a.toml", child("board.toml")))
    assert error.where.endswith("board.toml: accumulator.overflw")


@pytest.mark.parametrize("key", ["name", "summary"])
def test_child_states_its_own(write: Write, key: str) -> None:
    lines = child("int8-npu").splitlines(keepends=True)
    path = write("a.toml", "".join(line for line in lines if not line.startswith(key)))
    assert refusal(path).where.endswith(f"a.toml: {key}")


@pytest.mark.parametrize("text", ["op = 3\n", "op = [3]\n", "weight = 3\n", "evidence = 3\n"])
def test_value_of_the_wrong_shape_is_not_merged(write: Write, text: str) -> None:
    error = refusal(write("a.toml", child("int8-npu", text)))
    assert error.found == "3"
    assert error.where.endswith(("op", "op[0]", "weight", "evidence"))
