"""Resize and Upsample: nearest and bilinear, where torch takes the same source places."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from deployq.graph.onnx_import.arguments import expect, expect_map, numbers
from deployq.graph.onnx_import.batch import one_sample
from deployq.graph.onnx_import.node import OnnxNode, Value
from deployq.graph.onnx_import.operators.operator import ALL, Operator


@dataclass(frozen=True)
class Change:
    """Rows and columns: sizes before and after, and the factors that the file states."""

    before: list[int]
    after: list[int]
    factors: list[float]


def upsample(node: OnnxNode, x: Tensor, scales: Value = None) -> Tensor:
    """Upsample-7 (attribute) and 9 (input), Resize-10: asymmetric, rounded down."""
    change = _by_scales(node, x, numbers(node, scales, "scales"))
    return _interpolate(node, x, change, "asymmetric", "floor")


def resize(node: OnnxNode, x: Tensor, *rest: Value) -> Tensor:
    """Resize-10 (scales) and 11 to 19 (roi, scales, sizes)."""
    if node.opset < 11:
        return upsample(node, x, rest[0])
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    expect(node, not node.get("antialias", 0), "Resize does not filter", "antialias 1", "0")
    expect(node, policy == "stretch", "Resize states both sizes", policy, "stretch")
    _, scales, sizes = [*rest, None, None, None][:3]
    factors = numbers(node, scales, "scales")
    if factors:
        change = _by_scales(node, x, factors)
    else:
        change = _by_sizes(node, x, numbers(node, sizes, "sizes"))
    where = node.get("coordinate_transformation_mode", "half_pixel")
    return _interpolate(node, x, change, where, node.get("nearest_mode", "round_prefer_floor"))


def _by_scales(node: OnnxNode, x: Tensor, scales: list[float]) -> Change:
    given = dict(zip(node.get("axes") or range(4), scales, strict=True))
    before = _map_size(node, x, all(given.get(axis, 1) == 1 for axis in (0, 1)))
    factors = [float(given.get(axis, 1)) for axis in (2, 3)]
    return Change(before, [floor(n * f) for n, f in zip(before, factors, strict=True)], factors)


def _by_sizes(node: OnnxNode, x: Tensor, sizes: list[Any]) -> Change:
    given = dict(enumerate(x.shape)) | dict(zip(node.get("axes") or range(4), sizes, strict=True))
    same = all(one_sample(given[axis]) == one_sample(x.shape[axis]) for axis in (0, 1))
    before, after = _map_size(node, x, same), [int(given[2]), int(given[3])]
    return Change(before, after, [m / n for n, m in zip(before, after, strict=True)])


def _map_size(node: OnnxNode, x: Tensor, only_map: bool) -> list[int]:
    expect_map(node, x)
    expect(node, only_map, "Resize changes rows and columns", "another axis", "axes 2 and 3")
    return [int(size) for size in x.shape[2:]]


def _interpolate(node: OnnxNode, x: Tensor, change: Change, where: str, rounding: str) -> Tensor:
    if node.get("mode", "nearest") != "nearest":
        return _bilinear(node, x, change, where)
    sides = list(zip(change.before, change.after, change.factors, strict=True))
    same = all(_places(n, m, f, where, rounding) == [i * n // m for i in range(m)]
               for n, m, f in sides)  # fmt: skip
    expect(
        node,
        same,
        "nearest takes the place that rounding down takes",
        f"{where}, {rounding}, {change.before} to {change.after}",
        "asymmetric with floor, or whole factors",
    )
    return F.interpolate(x, size=change.after, mode="nearest")


def _places(size: int, count: int, factor: float, where: str, rounding: str) -> list[int]:
    """The source of each result, by the formulas of ONNX Resize."""
    if where not in ("asymmetric", "align_corners", "half_pixel", "pytorch_half_pixel"):
        return []
    rounded = {
        "floor": floor,
        "ceil": ceil,
        "round_prefer_floor": lambda v: ceil(v - 0.5),
        "round_prefer_ceil": lambda v: floor(v + 0.5),
    }[rounding]
    found = [rounded(_source(i, size, count, factor, where)) for i in range(count)]
    return [min(max(place, 0), size - 1) for place in found]


def _source(i: int, size: int, count: int, factor: float, where: str) -> float:
    if where == "asymmetric":
        return i / factor
    if where == "align_corners":
        return i * (size - 1) / (count - 1) if count > 1 else 0.0
    if where == "pytorch_half_pixel" and count == 1:
        return -0.5
    return (i + 0.5) / factor - 0.5


def _bilinear(node: OnnxNode, x: Tensor, change: Change, where: str) -> Tensor:
    sides = zip(change.before, change.after, change.factors, strict=True)
    whole = all(abs(n * f - m) < 1e-4 for n, m, f in sides)
    centred = where in ("half_pixel", "pytorch_half_pixel") and whole
    expect(
        node,
        node.get("mode") == "linear" and (centred or where == "align_corners"),
        "a Resize is nearest, or bilinear as in torch",
        f"{node.get('mode')}, {where}, factors {change.factors}",
        "half_pixel with factors that give whole sizes, or align_corners",
    )
    corners = where == "align_corners"
    return F.interpolate(x, size=change.after, mode="bilinear", align_corners=corners)


OPERATORS = {"Resize": Operator(resize, static=ALL), "Upsample": Operator(upsample, static=ALL)}
