"""The built-in profiles load, are what they say, and survive a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest

import deployq_targets
from deployq.arithmetic.contract import Kind, Overflow, Rounding
from deployq_targets import builtin_names, load_profile
from deployq_targets.loader import parse_profile
from deployq_targets.words import Evidence, OpStatus

NAMES = (
    "cmsis-nn", "ethos-u55-128", "ethos-u55-256", "ethos-u65-512", "ethos-u85-1024",
    "ethos-u85-512", "int2-vlsi", "int4-npu", "int8-npu", "litert-16x8",
    "litert-16x8-optimized", "litert-optimized", "litert-ref", "litert-xnnpack", "lowbit-vlsi",
    "max78000", "nvdla-small", "openvino-cpu", "ort-cpu", "qnn-htp", "rk3588", "ryzenai-xint8",
    "tensorrt",
)  # fmt: skip


def test_builtin_names_are_the_files() -> None:
    assert builtin_names() == NAMES


def test_public_names_are_listed() -> None:
    assert deployq_targets.__all__ == sorted(deployq_targets.__all__)
    assert set(deployq_targets.__all__) == {
        "TargetProfile",
        "builtin_names",
        "load_profile",
        "profile_json_schema",
    }


@pytest.mark.parametrize("name", NAMES)
def test_builtin_round_trips(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    dumped = profile.model_dump(mode="json", exclude_none=True)
    assert parse_profile(dumped, "dump") == profile


@pytest.mark.parametrize("name", NAMES)
def test_builtin_by_path_is_builtin_by_name(name: str) -> None:
    folder = Path(deployq_targets.__file__).parent
    assert load_profile(str(folder / f"{name}.toml")) == load_profile(name)


@pytest.mark.parametrize("name", NAMES)
def test_builtin_states_its_evidence_and_sources(name: str) -> None:
    profile = load_profile(name)
    assert profile.evidence["default"] in Evidence
    assert profile.sources


def test_ort_cpu_is_float32_on_u8() -> None:
    ort = load_profile("ort-cpu")
    assert [qtype.name for qtype in ort.activation_qtypes(8)] == ["u8", "s8"]
    assert ort.contract().default.kind is Kind.FLOAT32
    assert ort.accumulator.overflow is Overflow.WRAP
    assert ort.op_status("Relu") is OpStatus.FLOAT
    assert ort.op_status("Add") is OpStatus.INTEGER


def test_int4_npu_adds_4_bits_to_int8_npu() -> None:
    int8, int4 = load_profile("int8-npu"), load_profile("int4-npu")
    assert (int8.default_weight_bits, int4.default_weight_bits) == (8, 4)
    assert int4.contract().default == int8.contract().default
    assert [rule.type for rule in int4.op] == [rule.type for rule in int8.op]
    assert str(int4.weight_qtype(8)) == str(int8.weight_qtype(8)) == "s8[-127,127]"


def test_int8_npu_rounds_half_up_in_q31() -> None:
    form = load_profile("int8-npu").contract().form("Add")
    assert (form.kind, form.multiplier_bits) == (Kind.FIXED, 31)
    assert (form.rounding, form.left_shift) == (Rounding.HALF_UP, 20)


@pytest.mark.parametrize("bits", range(2, 9))
def test_lowbit_weights_are_narrow_and_activations_have_both_signs(bits: int) -> None:
    lowbit = load_profile("lowbit-vlsi")
    weight = lowbit.weight_qtype(bits)
    assert weight.qmin == -weight.qmax == 1 - 2 ** (bits - 1)
    unsigned, signed = lowbit.activation_qtypes(bits)
    assert (unsigned.name, signed.name) == (f"u{bits}", f"s{bits}")
    assert lowbit.activation_zero_points(unsigned) == (0, 0)
