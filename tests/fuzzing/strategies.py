"""Damaged files as hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import onnx
from hypothesis import strategies as st

from tests.fuzzing.damage import BYTES, STRUCTURE, parsed
from tests.fuzzing.seeds import SEEDS, seed_bytes, seed_model

MOST_DAMAGES = 3
TRIES = 8
"""Of byte damage, for one that still is a protobuf; the last one stands as it is."""

seeds = st.sampled_from(sorted(SEEDS))
numbers = st.integers(0, 2**32 - 1)


def _damages(kinds: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Which damages, and a number that each draws its details from."""
    return st.lists(
        st.tuples(st.integers(0, kinds - 1), numbers), min_size=1, max_size=MOST_DAMAGES
    )


@st.composite
def damaged_bytes(draw: Callable[..., object]) -> bytes:
    """A seed file with damaged bytes."""
    data = seed_bytes(str(draw(seeds)))
    for kind, number in draw(_damages(len(BYTES))):  # type: ignore[attr-defined]
        data = _damaged(data, kind, Random(number))
    return data


def _damaged(data: bytes, kind: int, random: Random) -> bytes:
    changed = data
    for _ in range(TRIES):
        changed = BYTES[kind](data, random) if data else data
        if parsed(changed) is not None:
            break
    return changed


@st.composite
def damaged_graphs(draw: Callable[..., object]) -> onnx.ModelProto:
    """A seed model with damaged structure."""
    model = seed_model(str(draw(seeds)))
    for kind, number in draw(_damages(len(STRUCTURE))):  # type: ignore[attr-defined]
        STRUCTURE[kind](model, Random(number))
    return model
