"""Checkpoints: exact, whole, and of one recipe, target and data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from deployq.errors import InputError
from deployq.trainer.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from deployq.trainer.identity import Identity, different_keys
from deployq.trainer.packing import pack, unpack
from deployq.trainer.position import Best, Position, Score
from deployq_targets import load_profile

OWN = Identity({"method": "qat", "seed": 0}, load_profile("int8-npu"), 64)
STATE = {
    "module": {"a.weight": torch.tensor([0.1, float("inf")]), "n": torch.tensor(3)},
    "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "groups": [{"lr": 0.1 + 0.2}]},
    "schedule": {"last_epoch": 3},
    "method": (None, True, 1, "word", [torch.zeros(0, dtype=torch.bfloat16)]),
}


def same(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)) and isinstance(right, type(left)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def test_state_comes_back_exactly(tmp_path: Path) -> None:
    position = Position(1, 2, 3, 4, 5, [0.1, 2.0, 3.0], 4, Best(2, Score(0.3, 0.5)))
    write_checkpoint(tmp_path, OWN, Checkpoint(position, STATE))
    found = read_checkpoint(tmp_path, OWN)
    assert found.position == position and same(found.state, STATE)


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(TypeError, match="a/0: object is no plain state"):
        pack([object()], "a", {})
    with pytest.raises(ValueError, match="no such kind"):
        unpack({"code": "print()"}, {})


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (
            Identity(OWN.recipe, load_profile("int4-npu"), 64),
            "by the target.*found: int4-npu.*allowed: int8-npu",
        ),
        (
            Identity({**OWN.recipe, "seed": 1}, OWN.profile, 64),
            "recipe.*found: seed = 1.*allowed: seed = 0, as",
        ),
        (Identity(OWN.recipe, OWN.profile, 63), "training data.*found: 63 samples.*64"),
    ],
)
def test_a_checkpoint_of_another_run(identity: Identity, expected: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, OWN, Checkpoint(Position(), STATE))
    with pytest.raises(InputError, match=f"(?s){expected}"):
        read_checkpoint(tmp_path, identity)


@pytest.mark.parametrize(
    ("own", "stated", "keys"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("a.c = 2", "a.c = 3")]),
        ({"a": {"w" * 90: 1}, "z": 1}, {"a": {"w" * 90: 1}, "z": 1.5}, [("z = 1", "z = 1.5")]),
        ({"t": None}, {"t": {"x": 1}}, [("t = null", "no t"), ("no t.x", "t.x = 1")]),
        ({"s": [{"e": 1}]}, {"s": [{"e": 2}]}, [("s.0.e = 1", "s.0.e = 2")]),
        ({"s": []}, {"s": [1, 2]}, [("s = []", "s = [1, 2]")]),
        ({"a": {}}, {"a": {}}, []),
    ],
)
def test_keys_that_differ_are_named_to_the_leaf(
    own: dict[str, Any], stated: dict[str, Any], keys: list[tuple[str, str]]
) -> None:
    assert list(different_keys(own, stated)) == keys


def test_many_keys_that_differ_are_counted(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, OWN, Checkpoint(Position(), STATE))
    many = {**OWN.recipe, **{f"key{index}": index for index in range(9)}}
    with pytest.raises(InputError, match=r"(?s)key7 = 7, and 1 more.*no key0"):
        read_checkpoint(tmp_path, Identity(many, OWN.profile, 64))


@pytest.mark.parametrize("part", ["module", "optimizer", "schedule", "method"])
def test_a_state_that_lacks_a_part(part: str, tmp_path: Path) -> None:
    state = {name: value for name, value in STATE.items() if name != part}
    write_checkpoint(tmp_path, OWN, Checkpoint(Position(), state))
    with pytest.raises(InputError, match=f"(?s)all parts of a run's state.*found: no {part}\n"):
        read_checkpoint(tmp_path, OWN)


def test_a_profile_that_changed_under_its_name(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, OWN, Checkpoint(Position(), STATE))
    changed = OWN.profile.model_copy(update={"summary": "another"})
    with pytest.raises(InputError, match=r"(?s)found: another int8-npu"):
        read_checkpoint(tmp_path, Identity(OWN.recipe, changed, 64))


def test_none_or_broken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)found: none.*leave --resume out"):
        read_checkpoint(tmp_path, OWN)
    write_checkpoint(tmp_path, OWN, Checkpoint(Position(), STATE))
    text = tmp_path / "checkpoint/training.json"
    facts = json.loads(text.read_text())
    for broken in ("{", json.dumps({**facts, "position": {}}), json.dumps([])):
        text.write_text(broken)
        with pytest.raises(InputError, match="the checkpoint cannot be read"):
            read_checkpoint(tmp_path, OWN)
    text.write_text(json.dumps({**facts, "format": 9}))
    with pytest.raises(InputError, match=r"(?s)format.*found: 9"):
        read_checkpoint(tmp_path, OWN)
    text.write_text(json.dumps(facts))
    (tmp_path / "checkpoint/training.safetensors").write_bytes(b"pickle")
    with pytest.raises(InputError, match="the checkpoint cannot be read"):
        read_checkpoint(tmp_path, OWN)
