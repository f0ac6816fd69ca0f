"""Placement: where quantizers stand, of what type, per target; all before a graph is edited."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.errors import InputError, ProfileError, UnsupportedError
from deployq.graph.capture import capture
from deployq.graph.placement import place
from deployq.graph.plan import Plan, TensorPlan
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq_targets import TargetProfile, load_profile
from deployq_targets.loader import parse_profile
from tests.graph.networks import (
    TARGETS,
    Net,
    calls_of,
    conv,
    graph_of,
    images,
    profile_with,
    with_entry,
)

S8_ZERO: dict[str, Any] = {"activation__zero_point": "zero", "activation__fixed_output": {}}


def plan_of(
    graph: torch.fx.GraphModule, target: str | TargetProfile, recipe: Recipe | None = None
) -> Plan:
    profile = load_profile(target) if isinstance(target, str) else target
    return place(graph, profile, recipe or Recipe()).plan


def tensor(plan: Plan, name: str) -> TensorPlan:
    return next(t for t in plan.tensors if name in t.tensors)


def relu_net() -> torch.fx.GraphModule:
    return graph_of(lambda m, x: m.head(F.relu(m.conv(x))), conv=conv(3, 4), head=conv(4, 2))


@pytest.mark.parametrize(
    ("target", "inner", "outer"),
    [
        ("int8-npu", ("s8", -128), ("s8", None)),
        ("ort-cpu", ("u8", 0), ("u8", None)),
        ("lowbit-vlsi", ("u8", 0), ("s8", 0)),
    ],
)
def test_a_relu_is_removed_where_the_lowest_code_is_zero(
    target: str, inner: Any, outer: Any
) -> None:
    plan = plan_of(relu_net(), target)
    assert [layer.activation for layer in plan.layers] == ["removed", "none"]
    found = {t.name: (t.qtype.name, t.zero_point) for t in plan.tensors}
    assert found == {"x": outer, "conv": inner, "head": outer}


def test_a_relu_is_kept_where_the_target_clamps_with_the_operator() -> None:
    profile = profile_with("int8-npu", **S8_ZERO, graph__relu_fusion="always")
    plan = plan_of(relu_net(), profile)
    assert plan.layers[0].activation == "kept"
    assert tensor(plan, "conv").symmetric and tensor(plan, "conv").zero_point == 0


def test_a_relu_gets_a_grid_of_its_own_where_the_target_does_not_clamp() -> None:
    plan = plan_of(relu_net(), profile_with("int8-npu", **S8_ZERO))
    assert plan.layers[0].activation == "none"
    assert [t.name for t in plan.tensors] == ["x", "conv", "relu", "head"]


def test_a_relu_with_several_consumers_stands_before_one_quantizer() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        y = F.relu(m.conv(x))
        return y + m.head(y)

    plan = plan_of(graph_of(body, conv=conv(3, 3), head=conv(3, 3)), "int8-npu")
    assert plan.layers[0].activation == "removed" and tensor(plan, "conv").zero_point == -128


def test_a_layer_that_is_read_before_its_relu_keeps_both_grids() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        y = m.conv(x)
        return y + F.relu(y)

    plan = plan_of(graph_of(body, conv=conv(3, 3)), "int8-npu")
    assert tensor(plan, "conv").zero_point is None and tensor(plan, "relu").zero_point == -128


@pytest.mark.parametrize("target", TARGETS)
def test_relu6_limits_the_scale(target: str) -> None:
    plan = plan_of(graph_of(lambda m, x: F.relu6(m.conv(x)), conv=conv(3, 4)), target)
    assert plan.layers[0].activation == "removed"
    assert tensor(plan, "conv").scale_limit == 6 / 255


def test_an_upper_bound_alone_is_no_reason_to_clip_below() -> None:
    graph = graph_of(lambda m, x: m.conv(x).clamp(max=6.0), conv=conv(3, 4))
    plan = plan_of(graph, "lowbit-vlsi")
    assert plan.layers[0].activation == "kept" and tensor(plan, "conv").scale_limit is None


def test_bounds_that_differ_on_one_grid_are_kept() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        return torch.cat([F.relu6(m.a(x)), F.relu(m.b(x))], 1)

    plan = plan_of(graph_of(body, a=conv(3, 2), b=conv(3, 2)), "lowbit-vlsi")
    assert [layer.activation for layer in plan.layers] == ["kept", "removed"]


def test_concat_shares_a_grid_where_the_profile_says_so() -> None:
    graph = graph_of(lambda m, x: torch.cat([m.a(x), m.b(x)], 1), a=conv(3, 2), b=conv(3, 2))
    assert tensor(plan_of(graph, "int8-npu"), "cat").tensors == ("a", "b", "cat")
    assert tensor(plan_of(graph, "ort-cpu"), "cat").tensors == ("cat",)


def test_movement_shares_the_grid_of_its_input() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        return F.pad(F.max_pool2d(m.conv(x), 2)[:, :, ::2], (1, 1)).flatten(1)

    assert [t.name for t in plan_of(graph_of(body, conv=conv(3, 2)), "int8-npu").tensors] == [
        "x", "conv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "op", "scale", "zero_point"),
    [(torch.sigmoid, "sigmoid", 1 / 256, -128), (torch.tanh, "tanh", 1 / 128, 0)],
)
def test_fixed_outputs_are_pinned(function: Any, op: str, scale: float, zero_point: int) -> None:
    plan = plan_of(graph_of(lambda m, x: function(m.conv(x)), conv=conv(3, 2)), "int8-npu")
    assert (tensor(plan, op).scale, tensor(plan, op).zero_point) == (scale, zero_point)
    assert tensor(plan, "conv").scale is None


def test_a_fixed_output_cannot_share_a_free_grid() -> None:
    graph = graph_of(lambda m, x: torch.cat([m.a(x).sigmoid(), m.b(x)], 1),
                     a=conv(3, 2), b=conv(3, 2))  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"(?s)sigmoid, b: .*int8-npu fixes.*without Concat"):
        plan_of(graph, "int8-npu")
    shared = [o for o in load_profile("int8-npu").graph.same_qparams if o != "Concat"]
    plan = plan_of(graph, profile_with("int8-npu", graph__same_qparams=shared))
    assert [tensor(plan, name).scale for name in ("sigmoid", "b", "cat")] == [1 / 256, None, None]


def test_fixed_outputs_of_one_scale_may_be_joined() -> None:
    graph = graph_of(lambda m, x: torch.cat([m.a(x).sigmoid(), m.b(x).sigmoid()], 1),
                     a=conv(3, 2), b=conv(3, 2))  # fmt: skip
    assert tensor(plan_of(graph, "int8-npu"), "cat").scale == 1 / 256


def test_narrow_and_partial_zero_points_follow_the_profile() -> None:
    narrow = profile_with("lowbit-vlsi", activation__narrow_range=True)
    assert str(tensor(plan_of(relu_net(), narrow), "x").qtype) == "s8[-127,127]"
    partial = profile_with("int8-npu", activation__zero_point=[-3, 5], activation__fixed_output={},
                           activation__symmetry="any")  # fmt: skip
    assert tensor(plan_of(relu_net(), partial), "x").zero_point == 0


def test_unsigned_types_alone_cannot_hold_both_signs() -> None:
    unsigned = profile_with("lowbit-vlsi", activation__types=["u8"], activation__bits=[8])
    with pytest.raises(UnsupportedError, match="no activation type holds values of both signs"):
        plan_of(relu_net(), unsigned)


def test_widths_come_from_the_recipe_and_the_edges_from_the_target() -> None:
    recipe = Recipe(2, 4, {"head": LayerRecipe(weight_bits=8, activation_bits=6)})
    plan = plan_of(relu_net(), "lowbit-vlsi", recipe)
    assert [layer.bits for layer in plan.layers] == [2, 8]
    assert [t.bits for t in plan.tensors] == [8, 4, 6]  # io.first_bits = 8


def test_a_shared_grid_takes_the_widest_of_its_members() -> None:
    graph = graph_of(lambda m, x: torch.cat([m.a(x), m.b(x)], 1), a=conv(3, 2), b=conv(3, 2))
    recipe = Recipe(layers={"a": LayerRecipe(activation_bits=4)})
    assert tensor(plan_of(graph, "lowbit-vlsi", recipe), "a").bits == 8


def test_a_width_that_the_target_lacks_is_refused() -> None:
    with pytest.raises(ProfileError, match=r"(?s)weight.bits.*found: 3.*allowed: 8"):
        plan_of(relu_net(), "int8-npu", Recipe(weight_bits=3))


def test_operators_with_an_integer_form_are_listed_where_the_target_runs_them_in_float() -> None:
    plan = plan_of(graph_of(lambda m, x: m.conv(F.relu(x)), conv=conv(3, 2)), "ort-cpu")
    assert plan.floats == ("relu: float, ort-cpu runs Relu as float",)


@pytest.mark.parametrize("status", ["cpu", "float"])
def test_what_becomes_of_unlisted_operators_says_nothing_of_listed_ones(status: str) -> None:
    profile = with_entry("int8-npu", type="Tanh", status=status)  # unlisted: refuse
    plan = plan_of(graph_of(lambda m, x: m.conv(x).tanh(), conv=conv(3, 2)), profile)
    assert plan.floats == (f"tanh: float, int8-npu runs Tanh as {status}",)


@pytest.mark.parametrize(
    "profile",
    [
        with_entry("int8-npu", type="Tanh", status="unsupported"),
        with_entry("int2-vlsi", type="Sigmoid"),  # Tanh stays unlisted
    ],
)
def test_operators_that_the_target_lacks_are_refused(profile: TargetProfile) -> None:
    graph = graph_of(lambda m, x: m.conv(x).tanh(), conv=conv(3, 2))
    with pytest.raises(UnsupportedError, match=r"(?s)tanh: .*runs Tanh as unsupported.*next: "):
        plan_of(graph, profile)


FLOATS = [
    (lambda m, x: m.conv(x).softmax(1), "softmax", "Softmax"),
    (lambda m, x: m.conv(x) - x[:, :2], "sub", "Sub"),
    (lambda m, x: F.avg_pool2d(m.conv(x), 3, 2, ceil_mode=True), "avg_pool2d", "AveragePool"),
]


@pytest.mark.parametrize(("body", "name", "operator"), FLOATS)
@pytest.mark.parametrize("status", ["integer", "refuse"])
def test_operators_without_an_integer_form_are_refused(
    body: Any, name: str, operator: str, status: str
) -> None:
    profile = profile_with("ort-cpu", graph__unlisted_ops=status)
    rule = rf"(?s){name}: .*found: {operator} .*no integer form.*next: replace the operator, add"
    with pytest.raises(UnsupportedError, match=rule):
        plan_of(graph_of(body, conv=conv(3, 2)), profile)


@pytest.mark.parametrize(("body", "name", "operator"), FLOATS)
def test_a_target_that_runs_floats_carries_them(body: Any, name: str, operator: str) -> None:
    plan = plan_of(graph_of(body, conv=conv(3, 2)), "ort-cpu")
    line = f"{name}: float, deployq has no integer form of {operator} with these operands"
    assert next(text for text in plan.floats if text.startswith(name)) in (
        line, f"{name}: float, ort-cpu runs {operator} as float",
    )  # fmt: skip


def test_a_refusal_says_how_the_operator_was_called() -> None:
    graph = graph_of(
        lambda m, x: F.interpolate(m.conv(x), scale_factor=2, mode="bicubic"), conv=conv(3, 2)
    )
    call = r"found: Resize \(upsample_bicubic2d of \[N, 2, \d+, \d+\], with False, \[2.0, 2.0\]\);"
    with pytest.raises(UnsupportedError, match=call):
        plan_of(graph, "int8-npu")


@pytest.mark.parametrize(
    ("body", "call"),
    [
        (lambda m, x: m.conv(x) + torch.randn(x.shape[0], 2, 1, 1), r"\(randn, with cpu, False\)"),
        (lambda m, x: torch.topk(m.conv(x).flatten(1), 3)[0], r"\(topk of \[N, 72\], with 3\)"),
    ],
    ids=["of a size", "one of several outputs"],
)  # fmt: skip
def test_a_refused_call_need_not_be_of_one_tensor(body: Any, call: str) -> None:
    with pytest.raises(UnsupportedError, match=call):
        plan_of(graph_of(body, conv=conv(3, 2)), "int8-npu")


def test_an_unknown_call_is_refused_everywhere() -> None:
    with pytest.raises(UnsupportedError, match=r"(?s)logit: .*found: aten.logit.*next: replace"):
        plan_of(graph_of(lambda m, x: torch.logit(m.conv(x)), conv=conv(3, 2)), "ort-cpu")


def test_what_only_float_operators_touch_is_on_no_grid() -> None:
    graph = graph_of(
        lambda m, x: m.b(torch.sqrt(F.softmax(m.a(x), 1))).softmax(1), a=conv(3, 4), b=conv(4, 4)
    )
    plan = plan_of(graph, "ort-cpu")
    assert [tensor.name for tensor in plan.tensors] == ["x", "a", "sqrt", "b"]


def test_a_layer_stays_in_float_by_the_recipe() -> None:
    recipe = Recipe(layers={"head": LayerRecipe(keep_float=True)})
    plan = plan_of(relu_net(), "int8-npu", recipe)
    assert [layer.name for layer in plan.layers] == ["conv"]
    assert plan.floats == ("head: float, by the recipe",)
    with pytest.raises(UnsupportedError, match=r"(?s)head: .*by the recipe.*next: "):
        plan_of(relu_net(), "lowbit-vlsi", recipe)


def test_granularity_by_the_recipe() -> None:
    recipe = Recipe(layers={"head": LayerRecipe(per_channel=False)})
    assert [layer.per_channel for layer in plan_of(relu_net(), "ort-cpu", recipe).layers] == [
        True, False,
    ]  # fmt: skip
    with pytest.raises(ProfileError, match=r"(?s)head: .*found: tensor.*allowed: channel"):
        plan_of(relu_net(), "int4-npu", recipe)


def test_an_operator_takes_the_first_width_of_its_own() -> None:
    profile = with_entry("int4-npu", type="Conv", weight_bits=[8])
    assert [layer.bits for layer in plan_of(relu_net(), profile).layers] == [8, 8]
    with pytest.raises(ProfileError, match=r"(?s)conv: Conv .*weight_bits.*found: 4.*allowed: 8"):
        plan_of(relu_net(), profile, Recipe(weight_bits=4))


def test_a_depthwise_convolution_goes_by_the_entry_of_its_group() -> None:
    profile = parse_profile(
        {**(table := load_profile("int4-npu").model_dump(mode="json")),
         "op": [*table["op"], {"type": "Conv", "group": "depthwise", "weight_bits": [8]}]}, "test",
    )  # fmt: skip
    graph = graph_of(lambda m, x: m.b(m.a(x)), a=conv(3, 4), b=conv(4, 4, groups=4))
    assert [layer.bits for layer in plan_of(graph, profile).layers] == [4, 8]


def test_tensors_around_an_operator_are_of_the_types_that_it_takes() -> None:
    only_u8 = with_entry("ort-cpu", type="Conv", act_types=["s8"])
    assert {t.qtype.name for t in plan_of(relu_net(), only_u8).tensors} == {"s8"}
    narrow = with_entry("lowbit-vlsi", type="Conv", act_bits=[4, 8])
    assert [t.bits for t in plan_of(relu_net(), narrow).tensors] == [8, 8, 8]
    with pytest.raises(ProfileError, match=r"(?s)conv: Conv .*act_bits.*found: conv of u6"):
        plan_of(relu_net(), narrow, Recipe(activation_bits=6))


def test_a_target_with_one_width_for_the_model_gets_no_other() -> None:
    profile = profile_with("lowbit-vlsi", weight__bits_per_layer=False)
    assert {layer.bits for layer in plan_of(relu_net(), profile).layers} == {4}
    with pytest.raises(ProfileError, match=r"(?s)bits_per_layer.*found: 4, 8"):
        plan_of(relu_net(), profile, Recipe(layers={"head": LayerRecipe(weight_bits=8)}))


def test_an_operator_without_a_channel_axis_has_one_scale() -> None:
    profile = profile_with("int8-npu", weight__axis={"Gemm": "n"})
    norm = graph_of(lambda m, x: m.norm(m.conv(x)), conv=conv(3, 4), norm=nn.BatchNorm2d(4))
    layer = plan_of(norm, profile).layers[0]
    assert not layer.per_channel and layer.batch_norm == "fold"
    only = profile_with("int4-npu", weight__axis={"Gemm": "n"})
    with pytest.raises(ProfileError, match=r"weight\.axis\.Conv"):
        plan_of(norm, only)


@pytest.mark.parametrize(
    "recipe", [Recipe(0), Recipe(None, 0), Recipe(layers={"*": LayerRecipe(0)})]
)
def test_zero_bits_are_a_width_that_no_target_has(recipe: Recipe) -> None:
    with pytest.raises(ProfileError, match=r"(?s)bits: .*found: 0"):
        plan_of(relu_net(), "int8-npu", recipe)


def test_a_pattern_of_the_recipe_names_a_layer() -> None:
    plan_of(relu_net(), "int8-npu", Recipe(layers={"x": LayerRecipe(None, 8)}))
    with pytest.raises(InputError, match=r"(?s)recipe: haed: .*nearest: head, conv"):
        plan_of(relu_net(), "int8-npu", Recipe(layers={"haed": LayerRecipe(8)}))
    with pytest.raises(InputError, match=r"recipe: x: "):  # the input has no weight
        plan_of(relu_net(), "int8-npu", Recipe(layers={"x": LayerRecipe(8)}))


def test_movement_that_the_target_lacks_is_refused() -> None:
    table = load_profile("lowbit-vlsi").model_dump(mode="json")
    table["op"] = [rule for rule in table["op"] if rule["type"] != "Transpose"]
    profile = parse_profile(table, "test")
    graph = graph_of(lambda m, x: m.conv(x).permute(0, 2, 3, 1), conv=conv(3, 2))
    with pytest.raises(UnsupportedError, match=r"(?s)permute: .*lowbit-vlsi has no Transpose"):
        plan_of(graph, profile)


def test_deciding_edits_nothing() -> None:
    graph = relu_net()
    before = calls_of(graph)
    plan_of(graph, "int8-npu")
    assert calls_of(graph) == before


def test_the_plan_counts_multiplications() -> None:
    model = Net(lambda m, x: m.fc(m.conv(x).flatten(1)),
                conv=conv(3, 6, groups=3, stride=2), fc=nn.Linear(54, 5))  # fmt: skip
    plan = plan_of(capture(model, [images(2)]), "int8-npu")
    assert [layer.macs for layer in plan.layers] == [6 * 9 * 9, 54 * 5]


def test_a_plan_survives_json_and_prints_every_decision() -> None:
    plan = plan_of(graph_of(lambda m, x: m.conv(x).sigmoid(), conv=conv(3, 2)), "int8-npu")
    assert Plan.from_json(plan.to_json()) == plan
    text = "\n".join(plan.lines())
    assert "conv: Conv weight s8 per channel, BatchNorm none, clamp none" in text
    assert "sigmoid: s8[-128,127] zero point -128, scale 0.00390625" in text
