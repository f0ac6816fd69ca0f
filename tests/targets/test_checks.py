"""Rules on files: each accepts its target's own file, and refuses it when its number changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from deployq_exporters.lowering import lower, to_proto
from deployq_targets import builtin_names, load_profile
from deployq_targets.checks import RULES, Finding, Severity, check_model
from deployq_targets.loader import parse_profile
from tests.graph.networks import profile_with, residual_for
from tests.qgraph.texts import qdq

TARGET = "int8-npu"


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """The residual network, lowered for :data:`TARGET`."""
    prepared = residual_for(TARGET)
    return to_proto(lower(prepared, prepared.profile))


def findings(model: onnx.ModelProto, profile: Any, rule: str) -> list[Finding]:
    return [found for found in check_model(model, profile) if found.rule == rule]


@pytest.mark.parametrize("target", ["int8-npu", "int4-npu", "ort-cpu", "lowbit-vlsi"])
def test_a_file_lowered_for_a_target_breaks_none_of_its_rules(target: str) -> None:
    prepared = residual_for(target)
    found = check_model(to_proto(lower(prepared, prepared.profile)), prepared.profile)
    assert [f for f in found if f.severity is Severity.ERROR] == []


def with_op(operator: str, base: Any = None, **changes: Any) -> Any:
    """The target, or another profile, with other values in the entry of an operator."""
    table = (base or load_profile(TARGET)).model_dump(mode="json")
    for entry in table["op"]:
        if entry["type"] == operator:
            entry.update(changes)
    return parse_profile(table, "test")


BOTH_SIGNS = profile_with(
    TARGET, activation__types=["s8", "u8"], container__int_types=["s8", "u8", "s32"]
)
BY_PROFILE: list[tuple[str, Callable[[], Any], str]] = [
    ("opset", lambda: profile_with(TARGET, container__opset_min=22, container__opset_prefer=22),
     "21"),
    ("ir-version", lambda: profile_with(TARGET, container__ir_max=9), "10"),
    ("integer-types", lambda: profile_with(
        TARGET, container__int_types=["u8", "s32"], activation__types=["u8"], weight__qmin={},
        weight__types=["u8"], weight__qmax={}, activation__fixed_output={}), "s8"),
    ("scalar-rank", lambda: profile_with(TARGET, container__scalar_rank=1), "shape []"),
    ("zero-point-input", lambda: profile_with(TARGET, container__zero_point_input="omit"),
     "present"),
    ("operator", lambda: with_op("Gemm", status="unsupported"), "Gemm"),
    ("leaves-the-target", lambda: with_op("Gemm", status="cpu"), "Gemm runs as cpu"),
    ("operator-shape", lambda: with_op("Conv", kernel_h=[1, 2]), "kernel_h 3"),
    ("operator-shape", lambda: with_op("Conv", expr="cin != 3"), "expr cin = 3"),
    ("operand-width", lambda: with_op("Conv", BOTH_SIGNS, act_types=["u8"]), "s8"),
    ("residual", lambda: profile_with(TARGET, graph__residual="q_skip_only"), "codes between"),
    ("activation-type", lambda: profile_with(
        TARGET, activation__types=["u8"], container__int_types=["u8", "s8", "s32"],
        activation__fixed_output={}), "s8"),
    ("activation-zero-point", lambda: profile_with(TARGET, activation__zero_point="mid"), ""),
    ("activation-scale", lambda: profile_with(TARGET, activation__scale_form="pow2"), "0.0"),
    ("fixed-output", lambda: profile_with(
        TARGET, activation__fixed_output={"Gemm": {"s8": {"scale": 0.5, "zero_point": 0}}}),
     "scale"),
    ("weight-type", lambda: profile_with(
        TARGET, weight__bits=[4], weight__types=["s4"], weight__qmin={}, weight__qmax={},
        container__int_types=["u8", "s8", "s4", "s32"]), "s8 with codes -127..127"),
    ("weight-zero-point", lambda: profile_with(
        TARGET, weight__zero_point=[1, 9], weight__symmetry="any"), "0"),
    ("weight-granularity", lambda: profile_with(
        TARGET, weight__granularity=["tensor"], weight__axis={}),
     "channel"),
    ("weight-scale", lambda: profile_with(TARGET, weight__scale_form="pow2"), "0.0"),
    ("sum-of-codes", lambda: profile_with(TARGET, weight__sum_abs_max={8: 100}), ""),
    ("bias-form", lambda: profile_with(TARGET, bias__form="float"), "int, 32 bits"),
    ("bias-scale", lambda: profile_with(
        TARGET, bias__scale_rule="act_times_weight_pow2", bias__scale_rule_exp=3),
     "s_x s_w times 1"),
    ("bias-channels", lambda: profile_with(TARGET, bias__max_channels=7), "8"),
    ("edge-width", lambda: profile_with(
        TARGET, activation__io={"first_bits": 4}, activation__bits=[8, 4],
        activation__types=["s8", "s4"], container__int_types=["s8", "s4", "s32"]), "8 bits"),
    ("edge-layer-width", lambda: profile_with(
        TARGET, weight__edge_bits=4, weight__bits=[8, 4], weight__types=["s8", "s4"],
        container__int_types=["s8", "s4", "s32"]), "8 bits"),
    ("weight-memory", lambda: profile_with(TARGET, memory__weights_bytes=471), "472 bytes"),
    ("bias-memory", lambda: profile_with(TARGET, memory__bias_bytes=83), "84 bytes"),
    ("activation-memory", lambda: profile_with(TARGET, memory__activations_bytes=287), "288 bytes"),
    ("network-limits", lambda: profile_with(TARGET, limits__max_layers=4), "max_layers 5"),
    ("network-limits", lambda: profile_with(TARGET, limits__max_params=492), "max_params 493"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "profile", "text"), BY_PROFILE)
def test_another_number_flips_the_finding(
    model: onnx.ModelProto, rule: str, profile: Callable[[], Any], text: str
) -> None:
    assert findings(model, load_profile(TARGET), rule) == []
    found = findings(model, profile(), rule)
    assert found and text in found[0].found and found[0].allowed and found[0].change


def changed(model: onnx.ModelProto, change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    change(copy)
    return copy


def tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def replace(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    tensor(model, name).CopyFrom(numpy_helper.from_array(array, name))


def drop_zero_point(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.name == "head.weight.dequantize")
    del node.input[2]


def share_a_bias(model: onnx.ModelProto) -> None:
    extra = helper.make_node(
        "DequantizeLinear", ["head.bias.codes", "head.bias.scale", "head.bias.zero_point"],
        ["copy"], name="copy", axis=0,
    )  # fmt: skip
    model.graph.node.insert(0, extra)


def rank_one(model: onnx.ModelProto) -> None:
    for name, kind in (("x.scale", np.float32), ("x.zero_point", np.int8)):
        value = numpy_helper.to_array(tensor(model, name)).astype(kind)
        replace(model, name, value.reshape(1))


def rescale_a_bias(model: onnx.ModelProto) -> None:
    scale = numpy_helper.to_array(tensor(model, "head.bias.scale"))
    replace(model, "head.bias.scale", scale * np.float32(2.0))


FILES = {
    "zero-point-input": (drop_zero_point, {}, "absent"),
    "own-initializers": (share_a_bias, {"graph__unique_initializers": True}, "head.bias"),
    "scalar-rank": (rank_one, {}, "shape [1]"),
    "bias-scale": (rescale_a_bias, {}, "s_x s_w times 2"),
}


@pytest.mark.parametrize("rule", FILES)
def test_another_file_breaks_the_rule(model: onnx.ModelProto, rule: str) -> None:
    change, values, text = FILES[rule]
    profile = profile_with(TARGET, **values)
    assert findings(model, profile, rule) == []
    found = findings(changed(model, change), profile, rule)
    assert found and text in found[0].found


def float_file() -> onnx.ModelProto:
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float[N, 3] x) => (float[N, 3] y) { y = Erf(x) }"""
    return onnx.parser.parse_model(text)


def test_a_float_file_has_no_integers_and_no_agreement() -> None:
    (found,) = findings(float_file(), load_profile(TARGET), "integer-tensors")
    assert (found.found, found.severity) == ("no integer tensors", Severity.ERROR)


def test_reals_have_no_place_where_nothing_computes_in_float() -> None:
    profile = load_profile("nvdla-small")
    assert {f.rule for f in check_model(float_file(), profile)} >= {"operator", "float-operator"}


@pytest.mark.parametrize("target", builtin_names())
def test_every_rule_has_a_text_in_the_numbers_of_every_profile(target: str) -> None:
    profile = load_profile(target)
    for rule in RULES:
        assert "{" not in rule.text(profile).replace("{}", "")
        assert rule.text(profile).endswith(".") and rule.why and rule.example


def test_rules_have_ids_of_their_own_and_tests() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    tested = {case[0] for case in BY_PROFILE} | set(FILES) | set(TEXTS)
    assert set(ids) == tested | {"integer-tensors", "float-operator"}


WEIGHTS = "wd = DequantizeLinear(w, sw, zw)\n"
TEXTS = {
    "same-parameters": (
        "v = MaxPool <kernel_shape = [2, 2]> (xd)", {"sy": np.float32(0.5), "zy": np.uint8(3)},
        {"sy": np.float32(0.25)}, {"graph__same_qparams": ["MaxPool"]}, "scale 0.5",
    ),
    "one-weight-width": (
        WEIGHTS + "ad = Conv(xd, wd)\naq = QuantizeLinear(ad, sx, zx)\n"
        "a = DequantizeLinear(aq, sx, zx)\nud = DequantizeLinear(u, sw, zu)\nv = Conv(a, ud)",
        {"u": np.zeros((2, 4, 1, 1), np.int8), "zu": np.int8(0)},
        {"u": np.zeros((2, 4, 1, 1), np.int16), "zu": np.int16(0)},
        {"weight__bits_per_layer": False}, "16 bits",
    ),
    "equal-weight-zero-points": (
        "wd = DequantizeLinear <axis = 0> (w, sw4, zw4)\nv = Conv(xd, wd)",
        {"zw4": np.int8([2, 2, 2, 2])}, {}, {"weight__equal_zero_points": True}, "-2 to 3",
    ),
    "constant-weights": (
        "v = MatMul(xd, xd)", None, {}, {"weight__constant": True}, "two computed tensors",
    ),
}  # fmt: skip
"""Rule to a graph, constants that it accepts (none: it has no such graph) and refuses, profile."""


@pytest.mark.parametrize("rule", TEXTS)
def test_files_of_other_tools(rule: str) -> None:
    body, accepted, refused, values, text = TEXTS[rule]
    profile = profile_with(TARGET, **values)
    opset = 21 if rule == "one-weight-width" else 17
    if accepted is not None:
        assert findings(qdq(body, opset=opset, **accepted), profile, rule) == []
    found = findings(qdq(body, opset=opset, **refused), profile, rule)
    assert found and text in found[0].found
    off = {key: [] if isinstance(value, list) else not value for key, value in values.items()}
    assert findings(qdq(body, opset=opset, **refused), profile_with(TARGET, **off), rule) == []


def test_the_bias_of_a_product_on_a_map_is_looked_at_too() -> None:
    """MatMul and Add, without names: the bias is an operand of the Add."""
    body = "md = DequantizeLinear(m, sw, zw)\np = MatMul(xd, md)\n"
    body += "bd = DequantizeLinear(b, sb, zb)\nv = Add(p, bd)"
    model = qdq(body, shape="N,5,3", out="N,5,4")
    profile = profile_with(TARGET, bias__scale_rule="act_times_weight_pow2", bias__scale_rule_exp=2)
    assert findings(model, load_profile(TARGET), "bias-scale") == []
    (found,) = findings(model, profile, "bias-scale")
    assert found.found == "s_x s_w times 1" and found.allowed == "s_x s_w times 4"


def test_what_is_not_known_does_not_pass() -> None:
    model = qdq("v = MaxPool <kernel_shape = [2, 2]> (xd)", shape="N,3,H,W")
    for values in ({"limits__max_macs": 1}, {"memory__activations_bytes": 1 << 30}):
        rule = "network-limits" if "limits__max_macs" in values else "activation-memory"
        (found,) = findings(model, profile_with(TARGET, **values), rule)
        assert found.found == "extents that are not known"
