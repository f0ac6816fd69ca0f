"""Limits of [[op]] on the shape of operators: kept, refused, and the number decides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from deployq.errors import UnsupportedError
from deployq.graph.capture import capture
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq_targets import TargetProfile, load_profile
from deployq_targets.graph import OpRule
from deployq_targets.loader import parse_profile
from deployq_targets.shape_limits import CHECKS, breach
from tests.graph.networks import conv, graph_of, images, prepared_for


def limited(
    op: str, key: str, limit: object, unlisted: str = "refuse", group: str = "any"
) -> TargetProfile:
    """int8-npu with one limit; what it does not take is refused, or goes to the host."""
    table = load_profile("int8-npu").model_dump(mode="json")
    table["name"], table["graph"]["unlisted_ops"] = "limited", unlisted
    table["op"] = [rule for rule in table["op"] if rule["type"] != op]
    table["op"] += [{"type": op, "group": group, key: limit}]
    if group != "any":
        table["op"] += [{"type": op, "group": "any"}]
    return parse_profile(table, "limited")


def one(**facts: Any) -> fx.GraphModule:
    """A convolution named ``a`` of a 3x6x6 image."""
    size = facts.pop("size", 3)
    outputs = facts.pop("outputs", 3)
    layer = nn.Conv2d(3, outputs, size, **facts)
    return graph_of(lambda m, x: m.a(x), a=layer)


def pooled(pool: Any) -> fx.GraphModule:
    return graph_of(lambda m, x: pool(m.a(x)), a=conv(3, 4))


def resized(height: int, width: int) -> fx.GraphModule:
    torch.manual_seed(0)
    return capture(nn.Conv2d(3, 4, 1), [torch.zeros(2, 3, height, width)])


# key: operator, limit, a net that keeps it, one that does not, what was found, a limit it keeps
CASES: dict[str, tuple[str, Any, fx.GraphModule, fx.GraphModule, str, Any]] = {
    "kernel_h": ("Conv", [1, 3], one(size=(3, 5)), one(size=(4, 3)), "4", [1, 4]),
    "kernel_w": ("Conv", [2, 3], one(size=(5, 3)), one(size=(3, 1)), "1", [1, 3]),
    "kernel_area_max": ("Conv", 9, one(size=(1, 5)), one(size=(2, 5)), "10", 10),
    "stride": ("Conv", [1, 2], one(stride=2), one(stride=(1, 3)), "3", [1, 3]),
    "dilation": ("Conv", [1, 1], one(), one(dilation=(2, 1)), "2", [1, 2]),
    "pad": ("Conv", [0, 1], one(padding=1), one(padding=(0, 2)), "2", [0, 2]),
    "cin_max": ("Conv", 3, one(), graph_of(lambda m, x: m.b(m.a(x)), a=conv(3, 4), b=conv(4, 3)),
                "4", 4),
    "cout_max": ("Conv", 4, one(outputs=4), one(outputs=5), "5", 5),
    "cin_multiple": (
        "Concat", 4,
        graph_of(lambda m, x: torch.cat([m.a(x), m.b(x)], 1), a=conv(3, 4), b=conv(3, 8)),
        graph_of(lambda m, x: torch.cat([m.a(x), m.b(x)], 1), a=conv(3, 4), b=conv(3, 6)),
        "6", 2,
    ),
    "cout_multiple": ("Conv", 4, one(outputs=8), one(outputs=6), "6", 3),
    "hw_max": ("Conv", 6, resized(6, 6), resized(4, 7), "7", 7),
    "dims_max": ("Conv", 6, one(outputs=6), one(outputs=7), "7", 7),
    "expr": ("Conv", "kh == kw and kh != 2", one(size=3), one(size=2), "kh = 2, kw = 2", "kh < 3"),
}  # fmt: skip


def test_every_key_has_a_case() -> None:
    assert set(CASES) == set(CHECKS)
    shape_keys = set(OpRule.model_fields) - {
        "type", "group", "status", "act_bits", "act_types", "weight_bits",
        "factor_zero_point", "second_factor_zero_point",
    }  # fmt: skip
    assert shape_keys == set(CHECKS)


@pytest.mark.parametrize("key", CASES)
def test_a_limit_is_kept_or_refused_and_its_number_decides(key: str) -> None:
    op, limit, kept, beyond, found, wider = CASES[key]
    prepared_for(kept, limited(op, key, limit))
    with pytest.raises(UnsupportedError) as caught:
        prepared_for(beyond, limited(op, key, limit))
    error = caught.value
    assert error.where in ("a", "b", "cat", "conv2d") and error.found == found
    assert error.rule.startswith(f"op.{op}.{key} of limited: ") and error.allowed
    assert "change this operator" in error.next_step
    prepared_for(beyond, limited(op, key, wider))


@pytest.mark.parametrize("key", CASES)
def test_a_host_takes_what_is_beyond(key: str) -> None:
    op, limit, _, beyond, found, _ = CASES[key]
    plan = prepared_for(beyond, limited(op, key, limit, unlisted="cpu")).plan
    (line,) = plan.floats
    assert f"float, op.{op}.{key} = {found} is beyond" in line
    assert "limited runs it as cpu" in line
    name = line.partition(":")[0]
    assert name not in {layer.name for layer in plan.layers}  # its weights stay in float


def layers(prepared: PreparedModel) -> list[str]:
    return [layer.name for layer in prepared.plan.layers]


def test_a_layer_in_float_computes_as_in_float() -> None:
    graph = graph_of(lambda m, x: m.b(m.n(m.a(x))), a=conv(3, 4, stride=4),
                     n=nn.BatchNorm2d(4), b=conv(4, 3))  # fmt: skip
    prepared = prepared_for(graph, limited("Conv", "stride", [1, 3], unlisted="cpu"))
    assert layers(prepared) == ["b"]
    x = images(2)
    prepared.quantizers()  # all that the plan names are there
    for quantizer in prepared.quantizers().values():
        quantizer.enabled = False
    prepared.units()["b"].weight_quantizer.enabled = False
    torch.testing.assert_close(prepared.module(x), graph(x))


def test_what_the_recipe_keeps_in_float_has_no_limits() -> None:
    profile, graph = limited("Conv", "stride", [1, 3]), one(stride=4)
    with pytest.raises(UnsupportedError, match="or choose another target") as caught:
        prepared_for(graph, profile)
    assert "keep the layer in float" in caught.value.next_step  # Softmax and others run on a host
    recipe = Recipe(layers={"a": LayerRecipe(keep_float=True)})
    assert prepared_for(graph, profile, recipe).plan.floats == ("a: float, by the recipe",)


def test_the_entry_of_the_own_group_speaks() -> None:
    graph = graph_of(lambda m, x: m.b(m.a(x)), a=conv(3, 4, 5), b=conv(4, 4, groups=4))
    prepared_for(graph, limited("Conv", "kernel_h", [1, 3], group="depthwise"))
    with pytest.raises(UnsupportedError, match=r"^b: op\.Conv\.kernel_h"):
        prepared_for(graph, limited("Conv", "kernel_h", [1, 2], group="depthwise"))


def test_a_pad_before_a_convolution_counts_to_it() -> None:
    graph = graph_of(lambda m, x: m.a(F.pad(x, (0, 2, 0, 1))), a=conv(3, 3))
    prepared_for(graph, limited("Conv", "pad", [0, 3]))
    with pytest.raises(UnsupportedError, match=r"(?s)op\.Conv\.pad.*found: 3.*allowed: 0\.\.2"):
        prepared_for(graph, limited("Conv", "pad", [0, 2]))


@pytest.mark.parametrize(
    ("pool", "op", "key", "kept", "beyond"),
    [
        (nn.MaxPool2d(3, 2, 1), "MaxPool", "pad", [0, 1], [0, 0]),
        (nn.MaxPool2d(2), "MaxPool", "stride", [1, 2], [1, 1]),  # as long as the kernel
        (nn.AvgPool2d((3, 2), 1), "AveragePool", "kernel_h", [1, 3], [1, 2]),
        (nn.AvgPool2d(2), "AveragePool", "hw_max", 6, 5),
        (nn.AdaptiveAvgPool2d(1), "GlobalAveragePool", "kernel_area_max", 36, 35),
        (nn.Flatten(), "Flatten", "expr", "cin * h * w <= 144", "cin * h * w < 144"),
        (nn.Sequential(nn.Flatten(), nn.Linear(144, 5)), "Gemm", "cin_max", 144, 143),
        (nn.Sequential(nn.Flatten(), nn.Linear(144, 5)), "Gemm", "cout_max", 5, 4),
        (nn.Linear(6, 7), "Gemm", "cin_multiple", 3, 4),  # channels come last
        (nn.Sequential(nn.Flatten(), nn.Linear(144, 5)), "Gemm", "expr", "kh == h == 1", "kh > 1"),
    ],
    ids=str,
)
def test_operators_of_other_kinds(
    pool: nn.Module, op: str, key: str, kept: object, beyond: object
) -> None:
    graph = pooled(pool)
    prepared_for(graph, limited(op, key, kept))
    with pytest.raises(UnsupportedError, match=rf"op\.{op}\.{key} of limited"):
        prepared_for(graph, limited(op, key, beyond))


def test_movement_beyond_a_limit_is_listed_where_a_host_takes_it() -> None:
    profile = limited("MaxPool", "stride", [1, 1], unlisted="cpu")
    (line,) = prepared_for(pooled(nn.MaxPool2d(2)), profile).plan.floats
    assert "op.MaxPool.stride = 2 is beyond 1..1" in line


def test_an_inequality_that_cannot_be_computed_is_broken() -> None:
    graph = one(padding=1)
    with pytest.raises(UnsupportedError, match=r"found: .*zero with kh = 3, pads = 0"):
        prepared_for(one(), limited("Conv", "expr", "kh // pads > 0"))
    prepared_for(graph, limited("Conv", "expr", "kh // pads >= 0"))


def test_the_scale_of_a_resize() -> None:
    def resize(height: int, width: int) -> fx.GraphModule:
        return graph_of(lambda m, x: F.interpolate(m.a(x), (height, width), mode="bilinear"),
                        a=conv(3, 3))  # fmt: skip

    def refusal(graph: fx.GraphModule) -> str:
        with pytest.raises(UnsupportedError) as caught:
            prepared_for(graph, limited("Resize", "expr", "scale in (2, 4)"))
        return str(caught.value)

    assert "no integer form of Resize" in refusal(resize(12, 12))  # the limit is kept
    assert "op.Resize.expr" in refusal(resize(18, 18)) and "scale = 3" in refusal(resize(18, 18))
    assert "found: no scale that is one number" in refusal(resize(12, 24))


def test_alignment_is_a_cost_and_refuses_nothing() -> None:
    assert load_profile("int8-npu").align.cin == 8
    prepared_for(one(outputs=5), "int8-npu")


def test_an_entry_without_limits_is_kept_by_all() -> None:
    rule = load_profile("int8-npu").op_rule("Conv")
    assert rule is not None
    assert breach(None, rule) is None  # type: ignore[arg-type]  # nothing looks at the shape


@pytest.mark.parametrize("target", ["ethos-u55-128", "ethos-u65-512", "ethos-u85-512"])
def test_ethos_takes_a_stride_of_three_and_leaves_four_to_the_host(target: str) -> None:
    assert layers(prepared_for(one(stride=3), target)) == ["a"]
    plan = prepared_for(one(stride=4), target).plan
    assert not plan.layers and plan.floats[0].startswith("a: float, op.Conv.stride = 4 is beyond")


def test_ethos_pools_a_small_padded_window_or_any_without_padding() -> None:
    def padded(size: int) -> Any:
        return nn.AvgPool2d(size, 1, size // 2)

    for pool, integer in ((nn.AvgPool2d(6, 1), True), (padded(7), True), (padded(9), False)):
        graph = pooled(nn.Sequential(nn.ZeroPad2d(2), pool))
        assert (prepared_for(graph, "ethos-u55-256").plan.floats == ()) == integer


def test_max78000_takes_kernels_of_one_and_three() -> None:
    for size in (1, 3):
        assert prepared_for(one(size=size), "max78000").plan.floats == ()
    for size in (2, 5):
        with pytest.raises(UnsupportedError, match=r"(?s)a: .*max78000"):
            prepared_for(one(size=size), "max78000")


def attention(unlisted: str) -> TargetProfile:
    table = load_profile("int8-npu").model_dump(mode="json")
    table["weight"]["constant"], table["graph"]["unlisted_ops"] = True, unlisted
    return parse_profile(table, "test")


def test_an_array_of_stored_weights_multiplies_no_activations() -> None:
    graph = graph_of(
        lambda m, x: m.a(x).flatten(2) @ m.b(x).flatten(2).mT, a=conv(3, 4), b=conv(3, 4)
    )
    with pytest.raises(UnsupportedError, match=r"(?s)weight.constant.*two computed tensors"):
        prepared_for(graph, attention("refuse"))
    (line,) = prepared_for(graph, attention("cpu")).plan.floats
    assert line.startswith("matmul: float, weight.constant = two computed tensors is beyond")
    assert prepared_for(graph, "int8-npu").plan.floats == ()


def test_a_stored_matrix_is_a_weight_to_such_an_array() -> None:
    graph = graph_of(
        lambda m, x: m.a(x).flatten(2) @ m.b, a=conv(3, 4), b=nn.Parameter(torch.randn(36, 5))
    )
    assert prepared_for(graph, attention("refuse")).plan.floats == ()
