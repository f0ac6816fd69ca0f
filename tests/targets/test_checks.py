"""Rules on files: each accepts one, refuses another, and changes its mind with the profile."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from deployq.errors import UnsupportedError
from deployq.qgraph import read_graph
from deployq_exporters.lowering import lower, to_proto
from deployq_targets import TargetProfile, builtin_names, load_profile
from deployq_targets.checks import RULES, CheckedFile, Finding, Severity, check_model
from deployq_targets.evidence import check_path
from deployq_targets.schema_tree import fields
from tests.graph.networks import profile_with, residual_for
from tests.qgraph.texts import qdq
from tests.targets.check_cases import CASES, PLAIN, SAYS_NOTHING_OF_A_FILE, Case, blocks

Parse = Callable[[Any], TargetProfile]
BY_ID = {rule.id: rule for rule in RULES}


@pytest.mark.parametrize("target", ["int8-npu", "int4-npu", "ort-cpu", "lowbit-vlsi"])
def test_a_file_lowered_for_a_target_breaks_none_of_its_rules(target: str) -> None:
    prepared = residual_for(target)
    found = check_model(to_proto(lower(prepared, prepared.profile)), prepared.profile)
    assert [f for f in found if f.severity is Severity.ERROR] == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule_accepts_refuses_and_follows_the_profile(case: Case, parse: Parse) -> None:
    rule, strict = BY_ID[case.rule], parse(case.strict)
    good, bad = (CheckedFile.of(make()) for make in (case.good, case.bad))
    assert list(rule.find(good, strict)) == []
    found = list(rule.find(bad, strict))
    assert found and case.text in found[0].found and found[0].allowed and found[0].change
    if case.relaxed is not None:
        relaxed = parse(case.relaxed)
        assert list(rule.find(bad, relaxed)) == []
        assert all(value(strict, key) != value(relaxed, key) for key in case.keys)


def value(profile: TargetProfile, key: str) -> Any:
    """The value at a dotted key; None in a section that is absent."""
    found: Any = profile.model_dump(by_alias=True)
    for part in key.split("."):
        found = None if found is None else found[part]
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_has_a_case_for_each_of_its_keys(rule: Any) -> None:
    cases = [case for case in CASES if case.rule == rule.id]
    assert cases, "a rule has a file that it accepts and one that it refuses"
    assert {key for case in cases for key in case.keys} == set(rule.keys)
    assert all(case.relaxed is not None or not rule.keys for case in cases)


def test_every_key_of_a_profile_is_read_by_a_rule_or_says_nothing_of_a_file() -> None:
    known = [path.replace("by_op.*.", "") for path, _ in fields()]  # as those of [requant]
    leaves = {path for path in known if not any(p.startswith(f"{path}.") for p in known)}
    read = {key for rule in RULES for key in rule.keys}

    def under(path: str, keys: Any) -> bool:
        return any(path == key or path.startswith(f"{key}.") for key in keys)

    assert {p for p in leaves if not under(p, read) and not under(p, SAYS_NOTHING_OF_A_FILE)} == {
        "requant.by_op.*"
    }
    assert not {p for p in leaves if under(p, read) and under(p, SAYS_NOTHING_OF_A_FILE)}
    for key in (*read, *SAYS_NOTHING_OF_A_FILE):
        check_path(key, set(known), "the list of keys")


def test_a_rule_tells_only_values_that_it_reads() -> None:
    for rule in RULES:
        assert set(re.findall(r"{([a-z_.]+)}", rule.template)) <= set(rule.keys), rule.id


def test_rules_have_ids_of_their_own() -> None:
    assert len(BY_ID) == len(RULES) and {case.rule for case in CASES} == set(BY_ID)


@pytest.mark.parametrize("target", builtin_names())
def test_every_rule_has_a_text_in_the_numbers_of_every_profile(target: str) -> None:
    profile = load_profile(target)
    for rule in RULES:
        assert "{" not in rule.text(profile) and "None" not in rule.text(profile)
        assert rule.text(profile).endswith(".") and rule.why and rule.example


def findings(model: onnx.ModelProto, profile: Any, rule: str) -> list[Finding]:
    return [found for found in check_model(model, profile) if found.rule == rule]


def test_reals_have_no_place_where_nothing_computes_in_float() -> None:
    profile = load_profile("nvdla-small")
    assert {f.rule for f in check_model(PLAIN(), profile)} >= {"integer-tensors", "float-operator"}


def test_the_bias_of_a_product_on_a_map_is_looked_at_too() -> None:
    """MatMul and Add, without names: the bias is an operand of the Add."""
    body = "md = DequantizeLinear(m, sw, zw)\np = MatMul(xd, md)\n"
    body += "bd = DequantizeLinear(b, sb, zb)\nv = Add(p, bd)"
    model = qdq(body, shape="N,5,3", out="N,5,4")
    target = "int8-npu"
    profile = profile_with(target, bias__scale_rule="act_times_weight_pow2", bias__scale_rule_exp=2)
    assert findings(model, load_profile(target), "bias-scale") == []
    (found,) = findings(model, profile, "bias-scale")
    assert found.found == "s_x s_w times 1" and found.allowed == "s_x s_w times 4"


def test_what_is_not_known_does_not_pass() -> None:
    model = qdq("v = MaxPool <kernel_shape = [2, 2]> (xd)", shape="N,3,H,W")
    for rule, key in (
        ("network-limits", "limits__max_macs"),
        ("activation-memory", "memory__activations_bytes"),
        ("shared-memory", "memory__shared_bytes"),
    ):
        (found,) = findings(model, profile_with("int8-npu", **{key: 1 << 30}), rule)
        assert found.found == "extents that are not known"


def test_a_shape_that_follows_from_shapes_is_known() -> None:
    """The way in which exporters write ``x.reshape(x.shape[0], -1)``, in an old opset."""
    body = """s = Shape(xd)
        n = Gather(s, zero)
        u = Unsqueeze <axes = [0]> (n)
        t = Concat <axis = 0> (u, rest)
        v = Reshape(xd, t)"""
    constants = {"zero": 0, "rest": [-1]}
    model = qdq(body, opset=12, out="N,M", **constants)
    assert findings(model, load_profile("int8-npu"), "static-shapes") == []
    text = "g (float[N,3] x) => (int64[2,M] y) { y = NonZero(x) }"
    (found,) = findings(_parsed(text), load_profile("int8-npu"), "static-shapes")
    assert (found.tensor, found.found) == ("y", "extent M")


def _parsed(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')


def test_a_weight_behind_a_transpose_is_looked_at_as_the_product_reads_it() -> None:
    body = """kd = DequantizeLinear <axis = 0> (m, s3, z3)
        kt = Transpose(kd)
        v = MatMul(xd, kt)"""
    facts: dict[str, Any] = {"shape": "N,4", "out": "N,3"}
    model = qdq(body, s3=np.float32([0.5, 0.25, 0.5]), z3=np.zeros(3, np.int8), **facts)
    assert findings(model, load_profile("int8-npu"), "weight-axis") == []
    body = body.replace("axis = 0", "axis = 1")
    moved = qdq(body, s3=np.full(4, 0.5, np.float32), z3=np.zeros(4, np.int8), **facts)
    (found,) = findings(moved, load_profile("int8-npu"), "weight-axis")
    assert (found.found, found.allowed) == ("axis 0", "axis 1")


def test_blocks_are_found_though_nothing_here_computes_with_them() -> None:
    with pytest.raises(UnsupportedError, match="one for each output channel"):
        read_graph(blocks(2)())
    rules = {found.rule for found in check_model(blocks(2)(), load_profile("int8-npu"))}
    assert "weight-granularity" in rules
    rules = {found.rule for found in check_model(blocks(2)(), load_profile("qnn-htp"))}
    assert "block-size" in rules and "weight-granularity" not in rules
