"""The batch: free where the file leaves it free or fixes it to one, refused where samples mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import NodeProto

from deployq.errors import InputError, UnsupportedError
from deployq.graph.onnx_import import import_onnx
from tests.graph.onnx_import.files import ONE, assert_equal, ints, names_of, node, random, write


@pytest.mark.parametrize("shape", [(1, 192), (1, -1), (-1, 192), (0, -1), (1, 1, 192), (1, 3, 64)])
def test_a_literal_shape_for_one_sample_takes_any_batch(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = write(tmp_path, [node("Reshape", "x s")], {"s": ints(*shape)}, shape=ONE)
    assert_equal(path, random(3, 3, 8, 8))


SHAPE_CHAIN = [
    node("Shape", "x", "shape"),
    node("Gather", "shape zero", "n"),
    node("Unsqueeze", "n", "row", axes=[0]),
    node("Concat", "row rest", "target", axis=0),
    node("Reshape", "x target"),
]


@pytest.mark.parametrize("rest", [(-1,), (192,), (3, -1), (-1, 2)])
@pytest.mark.parametrize("batch", ["N", 1])
def test_a_shape_computed_from_the_batch_stays_free(
    batch: int | str, rest: tuple[int, ...], tmp_path: Path
) -> None:
    constants = {"zero": ints(0)[0], "rest": ints(*rest)}
    path = write(
        tmp_path, SHAPE_CHAIN, constants, opset=9, shape=(batch, 3, 8, 8), rank=1 + len(rest)
    )
    graph = assert_equal(path, random(3, 3, 8, 8))
    assert len(names_of(graph)) == 1  # the chain leaves no call


def test_arithmetic_on_sizes(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Cast", "shape", "real", to=1),
        node("Mul", "real half", "scaled"),
        node("Floor", "scaled", "floored"),
        node("Cast", "floored", "whole", to=7),
        node("Slice", "whole two four", "map"),
        node("Slice", "shape none two", "front"),
        node("Concat", "front map", "sizes", axis=0),
        node("Resize", "x - - sizes"),
    ]
    constants = {"half": random(1) * 0 + 2, "two": ints(2), "four": ints(4), "none": ints(0)}
    assert_equal(write(tmp_path, nodes, constants), random(3, 3, 8, 8))


@pytest.mark.parametrize("batch", ["N", 1])
def test_attention_with_merged_heads(batch: int | str, tmp_path: Path) -> None:
    """Batch and heads become one dimension and part again."""
    nodes = [
        node("Reshape", "x split", "s"),
        node("Transpose", "s", "h", perm=[0, 2, 1, 3]),
        node("Reshape", "h merged", "m"),
        node("Transpose", "m", "t", perm=[0, 2, 1]),
        node("MatMul", "m t", "p"),
        node("Softmax", "p", "q", axis=-1),
        node("MatMul", "q m", "o"),
        node("Reshape", "o parted", "r"),
    ]
    first = -1 if batch == "N" else 1
    constants = {
        "split": ints(first, 5, 2, 4),
        "merged": ints(-1 if batch == "N" else 2, 5, 4),
        "parted": ints(first, 2, 5, 4),
    }
    path = write(tmp_path, nodes, constants, shape=(batch, 5, 8), outputs=("r",))
    assert_equal(path, random(3, 5, 8))


def test_a_class_token_is_repeated_for_every_sample(tmp_path: Path) -> None:
    path = write(
        tmp_path, [node("Concat", "token x", axis=1)], {"token": random(1, 1, 8)}, shape=(1, 5, 8)
    )
    assert_equal(path, random(3, 5, 8))


def test_an_expanded_token_depends_on_the_batch(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "n", end=1),
        node("Concat", "n rest", "shape", axis=0),
        node("Expand", "token shape", "tokens"),
        node("Concat", "tokens x", axis=1),
    ]
    constants = {"rest": ints(1, 8), "token": random(1, 1, 8)}
    assert_equal(write(tmp_path, nodes, constants, shape=("N", 5, 8)), random(3, 5, 8))


MIXING: dict[str, tuple[list[NodeProto], dict[str, Any]]] = {
    "softmax": ([node("Softmax", "x", axis=0)], {}),
    "mean": ([node("ReduceMean", "x")], {}),
    "concat": ([node("Concat", "x x", axis=0)], {}),
    "squeeze": ([node("Squeeze", "x a")], {"a": ints(0)}),
    "gather": ([node("Gather", "x i", axis=0)], {"i": ints(0)[0]}),
    "slice": ([node("Slice", "x s e")], {"s": ints(0), "e": ints(1)}),
    "split": ([node("Split", "x", "y", axis=0, num_outputs=1)], {}),
    "pad": ([node("Pad", "x p")], {"p": ints(1, 0, 0, 0, 0, 0, 0, 0)}),
    "product": ([node("Transpose", "x", "t", perm=[3, 1, 2, 0]), node("MatMul", "t x")], {}),
    "outer": ([node("Transpose", "x", "t", perm=[1, 0, 2, 3]), node("Add", "t x")], {}),
    "norm": ([node("LayerNormalization", "x s", axis=0)], {"s": random(1, 3, 8, 8)}),
}


@pytest.mark.parametrize("case", MIXING)
def test_refuses_what_mixes_samples(case: str, tmp_path: Path) -> None:
    nodes, constants = MIXING[case]
    path = write(
        tmp_path, nodes, constants, shape=(1, 3, 8, 8) if case != "outer" else (1, 1, 8, 8)
    )
    with pytest.raises(UnsupportedError, match=r"(?s)samples of a batch do not mix.*next: ") as e:
        import_onnx(path)
    assert nodes[-1].op_type in e.value.where and "domain ai.onnx, opset 18" in e.value.where


@pytest.mark.parametrize(
    ("batch", "shape"), [("N", (1, 192)), ("N", (3, -1)), (1, (3, 64)), (1, (192,))]
)
def test_refuses_a_reshape_without_a_place_for_the_batch(
    batch: int | str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    flat = node("Reshape", "x s", name="flat")
    path = write(tmp_path, [flat], {"s": ints(*shape)}, shape=(batch, 3, 8, 8))
    with pytest.raises(UnsupportedError, match=r"(?s)flat \(Reshape.*batch.*next: export"):
        import_onnx(path)


def test_refuses_an_output_whose_batch_is_not_first(tmp_path: Path) -> None:
    path = write(tmp_path, [node("Transpose", "x", perm=[1, 0, 2, 3])], {})
    with pytest.raises(UnsupportedError, match=r"(?s)output y has the batch as its first dim"):
        import_onnx(path)


def test_refuses_a_batch_of_four(tmp_path: Path) -> None:
    path = write(tmp_path, [node("Relu", "x")], {}, shape=(4, 3, 8, 8))
    with pytest.raises(InputError, match=r"(?s)input x: .*found: a batch fixed to 4.*next: export"):
        import_onnx(path)
