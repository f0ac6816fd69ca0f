"""Damaged files are refused in words, or read: never a traceback, a hang or a hunger for memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzzing.outcome import TARGETS, survives, target
from tests.fuzzing.seeds import SEEDS, seed_bytes
from tests.fuzzing.strategies import damaged_bytes, damaged_graphs

EXAMPLES = 334
"""Of each of the three tests: a thousand files in every run."""

ROUNDS, PER_ROUND = 10, 400
"""Of each of the three tests in the slow group: 12,000 files, each tenth with another seed."""

fixed = settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzing") / "model.onnx"


def as_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def as_file(path: Path, model: onnx.ModelProto) -> Path:
    return as_bytes(path, model.SerializeToString())


def in_memory(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    return model


KINDS: dict[str, tuple[Callable[..., Path | onnx.ModelProto], st.SearchStrategy[object]]] = {
    "bytes of a file": (as_bytes, damaged_bytes()),
    "structure of a file": (as_file, damaged_graphs()),
    "structure in memory": (in_memory, damaged_graphs()),
}


def held(kind: str, path: Path, how: settings, good: list[str]) -> Callable[[], None]:
    """The property of one kind of damage, to be called; ``good`` gets a word for each file that
    still could be checked.
    """
    given_as, damaged = KINDS[kind]

    @how
    @given(damaged, st.sampled_from(TARGETS))
    def hold(source: object, name: str) -> None:
        if survives(given_as(path, source), target(name)):
            good.append(name)

    return hold


@pytest.mark.parametrize("name", SEEDS)
def test_the_seeds_are_sound(name: str, path: Path) -> None:
    as_bytes(path, seed_bytes(name))
    assert all(survives(path, target(profile)) for profile in TARGETS)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind: str, path: Path) -> None:
    good: list[str] = []
    held(kind, path, fixed, good)()
    print(len(good))
    assert len(good) > EXAMPLES // 20, "hardly a file was read: the damage is too coarse"


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files(kind: str, round_: int, path: Path) -> None:
    many = settings(fixed, max_examples=PER_ROUND, derandomize=False)
    seed(round_)(held(kind, path, many, []))()
