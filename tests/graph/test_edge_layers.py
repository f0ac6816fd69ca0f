"""The first and last layers: which they are, and the width that profile and recipe state."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from deployq.errors import ProfileError
from deployq.graph.edge_layers import edge_layers
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq_targets import TargetProfile, load_profile
from deployq_targets.loader import parse_profile
from tests.graph.networks import conv, graph_of, prepared_for, profile_with, residual_graph
from tests.test_cli import Run, run

__all__ = ["run"]


def widths(profile: str | TargetProfile, recipe: Recipe | None = None) -> dict[str, int]:
    plan = prepared_for(residual_graph(), profile, recipe).plan
    return {layer.name: layer.bits for layer in plan.layers}


def with_edges(bits: int, **changes: Any) -> TargetProfile:
    return profile_with("int4-npu", weight__edge_bits=bits, **changes)


def branches() -> fx.GraphModule:
    def body(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = m.a(x) + m.b(x)
        z = y + m.c(y)
        return m.d(torch.relu(z)), m.e(z) + y

    return graph_of(body, **{name: conv(3, 3) for name in "abcde"})


def test_every_path_counts() -> None:
    edges = edge_layers(branches())
    assert (edges.first, edges.last) == ({"a", "b"}, {"d", "e"})


def test_a_factor_for_each_channel_hides_no_layer() -> None:
    graph = graph_of(
        lambda m, x: m.scale(m.b(m.a(m.norm(x)))),
        norm=nn.BatchNorm2d(3), a=conv(3, 4), b=conv(4, 3), scale=conv(3, 3, 1, groups=3),
    )  # fmt: skip
    edges = edge_layers(graph)
    assert (edges.first, edges.last) == ({"norm", "a"}, {"b", "scale"})


def test_one_layer_is_both_and_takes_the_wider() -> None:
    graph = graph_of(lambda m, x: m.a(x), a=conv(3, 3))
    plan = prepared_for(graph, "lowbit-vlsi", Recipe(first_bits=5, last_bits=6)).plan
    assert plan.layers[0].bits == 6


def test_nothing_stated_changes_nothing() -> None:
    assert set(widths("int4-npu").values()) == {4}


def test_the_profile_states_the_edges() -> None:
    expected = {"stem": 8, "depth": 4, "wide": 4, "head": 8}
    assert widths(with_edges(8)) == expected
    assert widths(with_edges(8), Recipe(weight_bits=4)) == expected  # of the other layers


def test_the_recipe_wins_and_a_named_layer_wins_over_all() -> None:
    recipe = Recipe(first_bits=8)
    assert widths("int4-npu", recipe) == {"stem": 8, "depth": 4, "wide": 4, "head": 4}
    assert widths(with_edges(8), Recipe(last_bits=4))["head"] == 4
    named = Recipe(layers={"stem": LayerRecipe(weight_bits=4)}, first_bits=8, last_bits=8)
    assert widths("int4-npu", named) == {"stem": 4, "depth": 4, "wide": 4, "head": 8}


def test_a_layer_in_float_stays_the_first() -> None:
    graph = graph_of(lambda m, x: m.c(m.b(m.a(x))), **{name: conv(3, 3) for name in "abc"})
    recipe = Recipe(layers={"a": LayerRecipe(keep_float=True)}, first_bits=8, last_bits=8)
    plan = prepared_for(graph, "int4-npu", recipe).plan
    assert [(layer.name, layer.bits) for layer in plan.layers] == [("b", 4), ("c", 8)]


def test_a_width_that_the_target_lacks_is_refused() -> None:
    with pytest.raises(ProfileError, match=r"(?s)weight\.bits.*found: 6.*allowed: 4, 8"):
        widths("int4-npu", Recipe(first_bits=6))


def test_one_width_for_the_whole_model_is_obeyed() -> None:
    profile = profile_with("int4-npu", weight__bits_per_layer=False)
    with pytest.raises(ProfileError, match=r"(?s)weight\.bits_per_layer.*found: 4, 8"):
        widths(profile, Recipe(first_bits=8))
    with pytest.raises(ProfileError, match=r"(?s)weight\.edge_bits.*bits_per_layer = false"):
        with_edges(8, weight__bits_per_layer=False)


def test_the_widths_of_an_operator_are_obeyed() -> None:
    table = load_profile("int4-npu").model_dump(mode="json")
    table["weight"]["edge_bits"] = 8
    next(rule for rule in table["op"] if rule["type"] == "Gemm")["weight_bits"] = [4]
    profile = parse_profile(table, "test")
    with pytest.raises(ProfileError, match=r"(?s)head: .*op\.Gemm\.weight_bits.*found: 8"):
        widths(profile)
    assert widths(profile, Recipe(last_bits=4)) == {"stem": 8, "depth": 4, "wide": 4, "head": 4}


def test_the_flags(run: Run, digits_pt2: Path, calib_npz: Path, tmp_path: Path) -> None:
    options = ("-t", "int4-npu", "--calib", calib_npz, "-o", tmp_path / "b")
    eight = ("--first-bits", "8", "--last-bits", "8")
    made = run("export", digits_pt2, *options, *eight, "--corrections", "none")
    shown = re.findall(r"^  (\S+): (?:Conv|Gemm) weight (\w+)", made.stdout, re.MULTILINE)
    assert [kind for _, kind in shown] == ["s8", *["s4"] * (len(shown) - 2), "s8"]
    refused = run("export", tmp_path / "b", *options, "--first-bits", "4", code=2)
    assert "its widths and scales stand" in refused.stderr
