"""Resize: the ways in which files say nearest, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.errors import UnsupportedError
from deployq.qgraph.resizing import float32_agrees
from tests.qgraph.texts import kinds, node, read

FLOOR = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
CONSTANTS: dict[str, Any] = {
    "sy": np.float32(0.5), "zy": np.uint8(3), "roi": np.float32([]), "none": np.float32([]),
    "twice": np.float32([1, 1, 2, 3]), "half": np.float32([1, 1, 0.5, 1]),
    "deep": np.float32([1, 2, 2, 2]), "sixteen": np.int64([16, 24]), "nine": np.int64([9, 24]),
    "batch": np.int64([5, 3, 16, 24]), "two": np.int64([2]), "minus": np.int64([0]),
}  # fmt: skip


def resized(body: str, **options: Any) -> Any:
    graph = read(body, **(CONSTANTS | {"opset": 18} | options))
    assert kinds(graph) == ["Quantize", "Move", "Dequantize"]
    return node(graph, "yq").attributes


@pytest.mark.parametrize("body", [
    f"v = Resize <{FLOOR}> (xd, roi, twice)",
    "v = Resize(xd, roi, twice)",  # half_pixel, round_prefer_floor
    f"v = Resize <{FLOOR}, axes = [2, 3]> (xd, roi, none, sixteen)",
    """s = Shape <end = 2> (xd)
       z = Concat <axis = 0> (s, sixteen)
       v = Resize(xd, roi, none, z)""",
])  # fmt: skip
def test_whole_factors(body: str) -> None:
    assert resized(body) == {"scales": [2, 3], "sizes": None}


def test_opset_10_has_two_inputs() -> None:
    body = "v = Resize(xd, twice)"
    assert resized(body, opset=10) == {"scales": [2, 3], "sizes": None}


def test_other_sizes_are_kept() -> None:
    body = f"v = Resize <{FLOOR}, axes = [2, 3]> (xd, roi, none, nine)"
    assert resized(body) == {"scales": None, "sizes": [9, 24]}


@pytest.mark.parametrize(("body", "rule"), [
    ('v = Resize <nearest_mode = "ceil"> (xd, roi, twice)', "takes the cell below.*\n.*with ceil"),
    ('v = Resize <coordinate_transformation_mode = "align_corners"> (xd, roi, twice)',
     "takes the cell below.*\n.*align_corners"),
    ("v = Resize(xd, roi, half)", r"(?s)has whole factors.*0\.5.*next: state the output's sizes"),
    ("v = Resize(xd, roi, deep)", r"(?s)changes rows and columns.*1\.0, 2\.0.*next: leave"),
    ("v = Resize <axes = [2, 3]> (xd, roi, none, nine)",
     r"(?s)every arithmetic takes the same cells.*half_pixel.*next: choose a size"),
    ("v = Resize(xd, roi, none, batch)", r"(?s)changes rows and columns.*5, 3"),
    ('v = Resize <axes = [2, 3], keep_aspect_ratio_policy = "not_larger"> (xd, roi, none, nine)',
     "Resize has keep_aspect_ratio_policy stretch"),
])  # fmt: skip
def test_what_is_refused(body: str, rule: str) -> None:
    with pytest.raises(UnsupportedError, match=rule):
        resized(body)


def test_sizes_of_an_unknown_input_are_refused() -> None:
    body = f"v = Resize <{FLOOR}, axes = [2, 3]> (xd, roi, none, sixteen)"
    with pytest.raises(UnsupportedError, match=r"(?s)input of known size.*next: bind the input's"):
        resized(body, shape="N,3,H,W")


def test_a_size_that_float32_misses_is_refused() -> None:
    length, size = next(
        (n, m) for n in range(2, 200) for m in range(2, 400) if not float32_agrees(n, m)
    )
    body = f"v = Resize <{FLOOR}, axes = [2, 3]> (xd, roi, none, wanted)"
    with pytest.raises(UnsupportedError, match="every arithmetic takes the same cells"):
        resized(body, shape=f"N,3,{length},8", wanted=np.int64([size, 8]))
