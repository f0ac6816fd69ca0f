"""Profiles drafted from files: they take the files, and nothing that is stated is wider."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import deployq
from deployq.errors import DeployqError, InputError, UnsupportedError
from deployq_exporters.lowering import lower, to_proto
from deployq_targets import load_profile
from deployq_targets.checks import RULES, check_model
from deployq_targets.inference import Draft, draft_text
from deployq_targets.loader import parse_profile
from deployq_targets.words import Evidence
from tests.fuzzing.seeds import SEEDS, seed_model
from tests.graph.networks import residual_for
from tests.qgraph.texts import qdq
from tests.simulator.nets import small_net
from tests.targets.conftest import change

DATA = Path(os.environ.get("DEPLOYQ_DATA", Path(__file__).parents[3] / "shared" / "data"))
FILES = sorted((DATA / "onnx_thirdparty").rglob("*.onnx"))


def errors(model: onnx.ModelProto, profile: Any) -> list[str]:
    return [f.rule for f in check_model(model, profile) if f.severity == "error"]


def loaded(draft: Draft, tmp_path: Path) -> Any:
    """The profile as it is read back from its text."""
    path = tmp_path / "drafted.toml"
    path.write_text(draft_text(draft))
    return load_profile(str(path))


MIXED = "convolutions"
"""Has integer and float biases, which no profile states."""

OWN: dict[str, Callable[[], onnx.ModelProto]] = {
    **{name: lambda name=name: seed_model(name) for name in SEEDS if name != MIXED},  # type: ignore[misc]
    "small net": lambda: small_net(21),
    "ties": lambda: small_net(17, ties=True),
    **{
        target: lambda target=target: to_proto(  # type: ignore[misc]
            lower(prepared := residual_for(target), prepared.profile)
        )
        for target in ("int8-npu", "int4-npu", "ort-cpu")
    },
}


@pytest.mark.parametrize("name", OWN)
def test_a_file_obeys_the_profile_drafted_from_it(name: str, tmp_path: Path) -> None:
    model = OWN[name]()
    draft = deployq.infer_target([model])
    profile = loaded(draft, tmp_path)
    assert errors(model, profile) == [] and profile == draft.profile
    assert "integer-tensors" not in [finding.rule for finding in check_model(model, profile)]


@pytest.mark.skipif(not FILES, reason="the third-party models are not here; set DEPLOYQ_DATA")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_other_tools(path: Path, tmp_path: Path) -> None:
    if path.stem.endswith("_float"):
        with pytest.raises(InputError, match="no integer tensors"):
            deployq.infer_target([path])
        return
    if path.stem == "qdq_with_multi_consumer_q_dq_axis":
        with pytest.raises(InputError, match=r"onnx\.checker refuses"):
            deployq.infer_target([path])
        return
    draft = deployq.infer_target([path])
    assert errors(onnx.load(path), loaded(draft, tmp_path)) == []
    assert draft.profile.activation.types and draft.operators


NARROWER: list[tuple[str, Any, str]] = [
    ("container.opset_max", 20, "opset"),
    ("container.ir_max", 9, "ir-version"),
    ("container.int_types", ["s8", "s32"], "integer-types"),
    ("container.scalar_rank", 1, "scalar-rank"),
    ("activation.zero_point", [0, 100], "activation-zero-point"),
    ("activation.scale_exp_range", [-5, -5], "activation-scale"),
    ("activation.scale_exp_range", [-6, -6], "activation-scale"),
    ("weight.scale_exp_range", [-9, -8], "weight-scale"),
    ("weight.granularity", ["tensor"], "weight-granularity"),
    ("bias.bits", 16, "bias-form"),
    ("Conv.kernel_h", [1, 2], "operator-shape"),
    ("Conv.stride", [1, 1], "operator-shape"),
    ("Conv.cin_max", 15, "operator-shape"),
    ("Conv.cout_max", 15, "operator-shape"),
    ("Conv.pad", [0, 0], "operator-shape"),
    ("Gemm.cin_max", 23, "operator-shape"),
    ("Gemm.dims_max", 39, "operator-shape"),
    ("MaxPool.kernel_w", [1, 1], "operator-shape"),
    ("AveragePool.pad", [0, 0], "operator-shape"),
    ("Concat.cout_max", 23, "operator-shape"),
]  # fmt: skip


@pytest.fixture(scope="module")
def ties() -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A net whose scales are powers of two, and the table of its profile."""
    model = small_net(21, ties=True)
    return model, tomllib.loads(draft_text(deployq.infer_target([model])))


NEEDED: dict[str, dict[str, Any]] = {
    "container.opset_max": {"container.opset_min": 20, "container.opset_prefer": 20},
    "container.int_types": {"activation.types": ["s8"]},
    "activation.zero_point": {"activation.symmetry": "any"},
    "weight.granularity": {"weight.axis": None},
    "bias.bits": {"container.int_types": ["u8", "s8", "s16", "s32"]},
}
"""What has to change with a key, so that the profile does not contradict itself."""


@pytest.mark.parametrize(("key", "value", "rule"), NARROWER)
def test_nothing_stated_is_wider_than_the_file(
    key: str, value: Any, rule: str, ties: tuple[onnx.ModelProto, dict[str, Any]]
) -> None:
    model, table = ties[0], deepcopy(ties[1])
    assert errors(model, parse_profile(table, "drafted")) == []
    section, name = key.split(".")
    if section[0].isupper():
        stated = [entry for entry in table["op"] if entry["type"] == section and name in entry]
        for entry in stated:
            entry[name] = value
        assert stated
    else:
        change(table, {key: value, **NEEDED.get(key, {})})
    assert rule in errors(model, parse_profile(table, "narrower"))


def test_several_files_are_all_taken(tmp_path: Path) -> None:
    models = [seed_model("narrow"), small_net(17), small_net(21, ties=True)]
    draft = deployq.infer_target(models)
    profile = loaded(draft, tmp_path)
    assert [errors(model, profile) for model in models] == [[], [], []]
    assert (profile.container.opset_min, profile.container.opset_max) == (17, 21)
    assert profile.weight.bits == (8, 4) and profile.weight.scale_form == "any"
    assert len(profile.sources) == 3 and "net: Conv_" in draft.facts["weight.bits"].shown
    single = deployq.infer_target(models[:1]).profile
    assert "operator" in errors(models[1], single) and "opset" in errors(models[1], single)


def test_what_is_shown_and_what_is_asked(tmp_path: Path) -> None:
    draft = deployq.infer_target([small_net(21, ties=True)])
    profile = loaded(draft, tmp_path)
    assert profile.evidence_of("container.opset_max") is Evidence.EXECUTED
    assert profile.evidence_of("op.Conv.kernel_h") is Evidence.EXECUTED
    for key in ("accumulator.bits", "requant.kind", "container.layout", "kind"):
        assert profile.evidence_of(key) is Evidence.UNCONFIRMED
    asked = {question.key for question in draft.questions}
    assert asked >= {"accumulator.bits", "accumulator.overflow", "requant.kind", "memory"}
    assert not asked & draft.facts.keys() and profile.requant.kind == "vendor"
    assert (profile.activation.scale_form, profile.weight.qmin) == ("pow2", {8: -127})
    joined = deployq.infer_target([small_net(21)]).profile.graph.same_qparams
    assert joined == ("MaxPool", "Flatten")


@pytest.mark.parametrize(("zero_point", "shown"), [(0, True), (3, False)])
def test_factors_without_zero_points_are_shown_where_others_have_some(
    zero_point: int, shown: bool, tmp_path: Path
) -> None:
    model = qdq("v = MatMul(xd, xd)", zx=np.uint8(zero_point), zy=np.uint8(5))
    draft = deployq.infer_target([model])
    (entry,) = (entry for entry in draft.operators if entry["type"].value == "MatMul")
    assert ("factor_zero_point" in entry) is shown
    profile = loaded(draft, tmp_path)
    assert errors(model, profile) == []
    shifted = qdq("v = MatMul(xd, xd)", zx=np.uint8(5), zy=np.uint8(5))
    assert ("factor-zero-point" in errors(shifted, profile)) is shown


def test_a_second_factor_without_a_zero_point_is_shown(tmp_path: Path) -> None:
    body = "c = Relu(xd)\nq = QuantizeLinear(c, sy, zy)\nd = DequantizeLinear(q, sy, zy)\n"
    model = qdq(f"{body}v = MatMul(xd, d)", zx=np.uint8(5), zy=np.uint8(0))
    draft = deployq.infer_target([model])
    (entry,) = (entry for entry in draft.operators if entry["type"].value == "MatMul")
    assert entry.keys() & {"factor_zero_point", "second_factor_zero_point"} == {
        "second_factor_zero_point"
    }
    profile = loaded(draft, tmp_path)
    assert errors(model, profile) == []
    shifted = qdq(f"{body}v = MatMul(d, xd)", zx=np.uint8(5), zy=np.uint8(0))
    assert "factor-zero-point" in errors(shifted, profile)


def test_second_factors_around_the_middle_of_their_bytes_are_shown(tmp_path: Path) -> None:
    body = "c = Relu(xd)\nq = QuantizeLinear(c, sy, zy)\nd = DequantizeLinear(q, sy, zy)\n"
    model = qdq(f"{body}v = MatMul(xd, d)", zx=np.uint8(5), zy=np.uint8(128))
    draft = deployq.infer_target([model])
    (entry,) = (entry for entry in draft.operators if entry["type"].value == "MatMul")
    assert entry["second_factor_zero_point"].value == [128, 128]
    profile = loaded(draft, tmp_path)
    assert errors(model, profile) == []
    shifted = qdq(f"{body}v = MatMul(d, xd)", zx=np.uint8(5), zy=np.uint8(128))
    assert "factor-zero-point" in errors(shifted, profile)


def test_codes_of_two_signs_and_operators_in_float() -> None:
    draft = deployq.infer_target([seed_model("islands")])
    floats = {entry["type"].value for entry in draft.operators if "status" in entry}
    assert floats == {"Erf", "Sub", "LayerNormalization"}
    assert draft.profile.evidence_of("op.Erf.status") is Evidence.UNCONFIRMED
    assert "weight.types" in {question.key for question in draft.questions}


def float_model() -> onnx.ModelProto:
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float[N, 3] x) => (float[N, 3] y) { y = Erf(x) }"""
    return onnx.parser.parse_model(text)


def without_q(domain: str) -> onnx.ModelProto:
    """Codes at an opset that has no quantized tensors."""
    text = f"""<ir_version: 7, opset_import: ["" : 9, "{domain}" : 1]>
    g (float[N, 3] x) => (float[N, 3] y) {{
        q = {domain}.QuantizeLinear(x, s, z)
        y = {domain}.DequantizeLinear(q, s, z) }}"""
    made = onnx.parser.parse_model(text)
    made.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "s"))
    made.graph.initializer.append(numpy_helper.from_array(np.uint8(3), "z"))
    return made


@pytest.mark.parametrize(("models", "text"), [
    ([], "a profile is drafted from files"),
    ([float_model()], "no integer tensors"),
    ([seed_model(MIXED)], "a profile states one form of biases"),
    ([without_q("com.microsoft")], "profiles speak of opsets with quantized tensors"),
])  # fmt: skip
def test_what_is_refused(models: list[onnx.ModelProto], text: str) -> None:
    with pytest.raises(DeployqError, match=text):
        deployq.infer_target(models)


def test_files_that_no_one_profile_takes() -> None:
    """A sum with codes on one branch, and a Concat that rescales where another does not."""
    shared = "p = MaxPool <kernel_shape = [2, 2]> (xd)\npq = QuantizeLinear(p, sx, zx)\nv = Erf(pd)"
    model = qdq(shared.replace("v = Erf(pd)", "pd = DequantizeLinear(pq, sx, zx)\nv = Erf(pd)"))
    draft = deployq.infer_target([model])
    assert draft.profile.graph.same_qparams == ("MaxPool",)
    changed = qdq("v = MaxPool <kernel_shape = [2, 2]> (xd)")
    assert deployq.infer_target([model, changed]).profile.graph.same_qparams == ()


WEIGHT = "wd = DequantizeLinear(w, sw, zw)\n"
BLOCKS: dict[str, Any] = {
    "k": np.arange(8, dtype=np.int8).reshape(4, 2), "shape": "N,4", "out": "N,2", "opset": 21,
    "sk": np.arange(1, 5, dtype=np.float32).reshape(2, 2), "zk": np.zeros((2, 2), np.int8),
}  # fmt: skip
CUT = "kd = DequantizeLinear <axis = 0, block_size = {}> (k, sk, zk)\nv = MatMul({}, kd)"
STATED: dict[str, tuple[onnx.ModelProto, dict[str, Any], str]] = {
    "blocks": (qdq(CUT.format(2, "xd"), **BLOCKS), {
        "weight.granularity": ["block"], "weight.block_sizes": [2], "weight.block_axis": "k",
        "weight.block_tail": False}, "block-size"),
    "a short block": (qdq(CUT.format(3, "xd"), **BLOCKS), {"weight.block_tail": True},
                      "block-tail"),
    "weights under reals": (qdq("e = Erf(xd)\n" + CUT.format(2, "e"), **BLOCKS), {
        "weight.only.types": ["s8"], "weight.only.op_types": ["MatMul"],
        "weight.only.block_sizes": [2]}, "weight-only"),
    "another axis": (
        qdq("wd = DequantizeLinear <axis = 1> (w, s3, z3)\nv = Conv(xd, wd)",
            s3=np.float32([0.5, 0.25, 0.125]), z3=np.zeros(3, np.int8)),
        {"weight.axis.Conv": 1}, "weight-axis"),
    "a shifted bias": (
        qdq(WEIGHT + "bd = DequantizeLinear(b, sb, zb)\nv = Conv(xd, wd, bd)", sb=np.float32(0.5)),
        {"bias.scale_rule": "act_times_weight_pow2", "bias.scale_rule_exp": 3}, "bias-scale"),
    "a bias of its own": (
        qdq(WEIGHT + "bd = DequantizeLinear(b, sb, zb)\nv = Conv(xd, wd, bd)", sb=np.float32(0.7)),
        {"bias.scale_rule": "free"}, "bias-scale"),
    "a rounded bias": (
        qdq(WEIGHT + "bd = DequantizeLinear(b, sb, zb)\nv = Conv(xd, wd, bd)",
            sb=np.float32(0.0625 * 1.00001)),
        {"bias.scale_rule": "act_times_weight"}, "bias-scale"),
    "a bias in reals": (qdq(WEIGHT + "v = Conv(xd, wd, f)", f=np.ones(4, np.float32)),
                        {"bias.form": "float"}, "bias-form"),
    "scales of channels": (
        qdq("v = Relu(xd)", sx=np.float32([1, 2, 4]), zx=np.uint8([0, 0, 0]), shape="N,3,2,2"),
        {"activation.granularity": ["channel", "tensor"]}, "activation-granularity"),
    "zero points of a layer": (
        qdq("wd = DequantizeLinear <axis = 0> (w, sw4, zw4)\nv = Conv(xd, wd)",
            zw4=np.int8([3, 3, 3, 3])),
        {"weight.zero_point": [3, 3]}, "weight-zero-point"),
    "codes at the edges": (
        seed_model("resized"), {"graph.io": "integer", "activation.io.first_bits": 8,
                                "container.format": "onnx-qcdq"}, "edge-width"),
    "a narrow net": (seed_model("narrow"), {"weight.bits": [4], "weight.types": ["s4"],
                                            "weight.bits_per_layer": False}, "weight-type"),
    "one sample": (qdq("v = Relu(xd)", shape="1,3,2,2"), {
        "container.batch_one": True, "container.static_shapes": True, "container.max_rank": 4},
        "static-shapes"),
}  # fmt: skip
"""A file, what it shows, and a rule that reads it."""


@pytest.mark.parametrize("name", STATED)
def test_what_a_file_shows(name: str, tmp_path: Path) -> None:
    model, values, rule = STATED[name]
    draft = deployq.infer_target([model])
    assert {key: draft.facts[key].value for key in values} == values
    assert errors(model, loaded(draft, tmp_path)) == []
    keys = next(r.keys for r in RULES if r.id == rule)
    assert any(key.startswith(k) for k in keys for key in values)


def test_a_bias_with_a_zero_point_has_no_profile() -> None:
    body = WEIGHT + "bd = DequantizeLinear(b, sb, zb)\nv = Conv(xd, wd, bd)"
    with pytest.raises(UnsupportedError, match="one profile states what all files show"):
        deployq.infer_target([qdq(body, zb=np.int32(7))])
