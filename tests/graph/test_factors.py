"""What a product of two activations asks of its factors' zero points."""

from __future__ import annotations

import pytest

from deployq.errors import ProfileError
from deployq.graph.recipe import Recipe
from deployq.sources import Preprocessing
from deployq_targets.loader import parse_profile
from tests.graph.networks import (
    conv,
    graph_of,
    product,
    with_entry,
)
from tests.graph.test_placement import plan_of, tensor


def test_factors_of_a_product_have_the_zero_point_of_its_entry() -> None:
    graph = graph_of(product, a=conv(3, 2), b=conv(3, 2))
    plan = plan_of(graph, "openvino-cpu")
    found = {name: (tensor(plan, name).qtype.name, tensor(plan, name).zero_point)
             for name in ("x", "a", "b", "matmul")}  # fmt: skip
    assert found == {"x": ("u8", None), "a": ("s8", 0), "b": ("s8", 0), "matmul": ("u8", None)}


def test_the_second_factor_alone_may_have_a_zero_point_to_keep() -> None:
    """XNNPACK's; shares, which are the first, keep the one that LiteRT fixes."""
    graph = graph_of(
        lambda m, x: (m.a(x).flatten(2).transpose(1, 2) @ m.b(x).flatten(2)).softmax(-1)
        @ m.c(x).flatten(2).transpose(1, 2),
        a=conv(3, 2), b=conv(3, 2), c=conv(3, 2),
    )  # fmt: skip
    plan = plan_of(graph, "litert-xnnpack")
    found = {name: tensor(plan, name).zero_point for name in ("a", "b", "softmax", "c")}
    assert found == {"a": None, "b": 0, "softmax": -128, "c": 0}


def test_a_factor_is_of_a_type_that_has_its_zero_point() -> None:
    taking = with_entry("openvino-cpu", type="MatMul", factor_zero_point=[128, 128])
    table = taking.model_dump(mode="json")
    table["activation"] |= {"types": ["s8", "u8"], "zero_point": "mid"}
    graph = graph_of(product, a=conv(3, 2), b=conv(3, 2))
    plan = plan_of(graph, parse_profile(table, "test"))
    found = {name: (tensor(plan, name).qtype.name, tensor(plan, name).zero_point)
             for name in ("x", "a", "b", "matmul")}  # fmt: skip
    assert found == {"x": ("s8", 0), "a": ("u8", 128), "b": ("u8", 128), "matmul": ("s8", 0)}


def test_a_factor_whose_zero_point_is_fixed_elsewhere_is_refused() -> None:
    graph = graph_of(
        lambda m, x: m.a(x).sigmoid().flatten(2).transpose(1, 2) @ m.b(x).flatten(2),
        a=conv(3, 2), b=conv(3, 2),
    )  # fmt: skip
    for key in ("factor_zero_point", "second_factor_zero_point"):
        profile = with_entry("int8-npu", type="MatMul", **{key: "zero"})
        if key.startswith("second"):
            assert tensor(plan_of(graph, profile), "sigmoid").zero_point == -128
            graph = graph_of(
                lambda m, x: m.a(x).flatten(2).transpose(1, 2) @ m.b(x).sigmoid().flatten(2),
                a=conv(3, 2), b=conv(3, 2),
            )  # fmt: skip
        rule = (
            rf"op.MatMul.{key} does not list\n  found: sigmoid of zero point -128"
            r"\n  allowed: 0\n  next: state one that activation.fixed_output has"
        )
        with pytest.raises(ProfileError, match=rule):
            plan_of(graph, profile)


def test_pixels_whose_zero_point_a_product_does_not_take_are_not_codes() -> None:
    graph = graph_of(lambda m, x: x.flatten(2).transpose(1, 2) @ x.flatten(2))
    recipe = Recipe(images={"x": Preprocessing("x/255")})
    plan = plan_of(graph, "openvino-cpu", recipe)
    assert (tensor(plan, "x").qtype.name, tensor(plan, "x").zero_point) == ("s8", 0)
    assert plan.notes == (
        "x: pixels are not its codes: 0.0 is code -128, the target takes zero points in 0..0; "
        "its grid is calibrated",
    )
