"""The profiles of real chips and runtimes: their evidence, their arithmetic, what they inherit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from deployq.arithmetic.contract import Kind, Rounding
from deployq.arithmetic.form_names import DEPTHWISE_BY_2
from deployq.arithmetic.requant_words import (
    Addition,
    Product,
    Rescaling,
    ScalePrecision,
    ZeroPointPlace,
)
from deployq_targets import builtin_names, load_profile
from deployq_targets.describe import stated_values
from deployq_targets.evidence import DEFAULT
from deployq_targets.loader import load_stated
from deployq_targets.words import Evidence, OpStatus

NAMES = builtin_names()


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_tag_and_a_file(name: str) -> None:
    loaded = load_stated(name)
    assert DEFAULT in loaded.profile.evidence  # no number counts as unconfirmed by omission
    found = [value for value in stated_values(loaded).values() if any(numbers(value.value))]
    assert len(found) >= 5
    assert all(value.evidence in Evidence and value.origin in NAMES for value in found)


@pytest.mark.parametrize("name", NAMES)
def test_sources_name_what_the_tags_rest_on(name: str) -> None:
    profile = load_profile(name)
    tags = {value.evidence for value in stated_values(load_stated(name)).values()}
    assert profile.sources and tags - {Evidence.UNCONFIRMED}
    assert len(profile.summary) <= 100


@pytest.mark.parametrize("name", NAMES)
def test_contract_has_the_words_of_the_profile(name: str) -> None:
    profile = load_profile(name)
    contract = profile.contract()
    assert contract.default.kind is profile.requant.kind
    assert set(contract.by_op) == set(profile.requant.by_op)
    assert contract.bias_order is profile.bias.order


UNKNOWN = {
    "rk3588": ("accumulator.bits", "requant.kind", "bias.form", "activation.types"),
    "max78000": ("compute.macs_per_cycle.w8a8", "memory.bias_bytes", "op.Gemm.cin_max"),
    "int2-vlsi": ("compute.macs_per_cycle.w2a8", "requant.shift_max"),
    "nvdla-small": ("bias.bits", "container.opset_prefer", "op.Conv.status"),
    "ethos-u85-1024": ("compute.macs_per_cycle.w8a16", "compute.macs_per_cycle.w4a8"),
    "ethos-u85-512": ("compute.macs_per_cycle.w8a16", "requant.left_shift"),
    "qnn-htp": ("accumulator.bits", "requant.kind"),
    "tensorrt": ("accumulator.bits", "requant.kind"),
    "ryzenai-xint8": ("accumulator.bits", "requant.rounding"),
    "openvino-cpu": ("accumulator.bits",),
}
KNOWN = {
    "ethos-u55-128": {"compute.macs_per_cycle.w8a8": "S", "memory.cache_bytes": "S"},
    "ethos-u65-512": {"compute.clock_hz": "D", "memory.external_bw": "D"},
    "ethos-u85-512": {"bias.signed_bits_max": "S", "weight.sum_abs_max.8": "D"},
    "litert-16x8": {"requant.by_op.Conv.mantissa": "E", "activation.bits": "E", "accumulator": "U"},
    "litert-16x8-optimized": {"requant.by_op.Add": "E", "requant.by_op.Conv.mantissa": "E"},
    "litert-ref": {"requant.rounding": "E", "requant.by_op.Gemm.rounding": "E"},
    "litert-xnnpack": {"requant.by_op.Add.multiplier_bits": "E"},
    "qnn-htp": {"requant.by_op.Conv.post_shift": "E", "container.max_rank": "X"},
    "max78000": {"memory.weights_bytes": "D", "requant.rounding": "S"},
}


@pytest.mark.parametrize(("name", "paths"), UNKNOWN.items(), ids=[*UNKNOWN])
def test_what_nobody_knows_is_marked(name: str, paths: tuple[str, ...]) -> None:
    profile = load_profile(name)
    assert {path: profile.evidence_of(path).value for path in paths} == dict.fromkeys(paths, "U")


@pytest.mark.parametrize(("name", "tags"), KNOWN.items(), ids=[*KNOWN])
def test_what_is_known_says_how(name: str, tags: dict[str, str]) -> None:
    profile = load_profile(name)
    assert {path: profile.evidence_of(path).value for path in tags} == tags


def test_litert_has_three_arithmetics() -> None:
    ref, fast, xnn = (load_profile(f"litert-{kind}") for kind in ("ref", "optimized", "xnnpack"))
    forms = [profile.contract().form("Conv") for profile in (ref, fast, xnn)]
    assert [form.rounding for form in forms] == [
        Rounding.DOUBLE, Rounding.DOUBLE_HALF_UP, Rounding.HALF_EVEN,
    ]  # fmt: skip
    assert ref.contract().form("Gemm").rounding is Rounding.HALF_AWAY
    assert fast.contract().form("Gemm").precision is ScalePrecision.F32_PRODUCT_OF_ONE
    assert (xnn.requant.multiplier_bits, xnn.requant.kind) == (None, Kind.FLOAT32)
    add = xnn.contract().form("Add")
    assert (add.multiplier_bits, add.addition) == (21, Addition.WEIGHTED_SUM)


def test_litert_profiles_differ_in_arithmetic_alone() -> None:
    ref, xnn = load_profile("litert-ref"), load_profile("litert-xnnpack")
    fields = ("container", "activation", "weight", "bias", "graph", "op")
    assert all(getattr(ref, field) == getattr(xnn, field) for field in fields)


def test_cmsis_nn_rounds_twice_in_fully_connected_layers_too() -> None:
    cmsis = load_profile("cmsis-nn")
    assert cmsis.contract().form("Gemm").rounding is Rounding.DOUBLE
    assert str(cmsis.weight_qtype(4)) == "s4[-7,7]"
    assert cmsis.op_status("MatMul") is OpStatus.UNSUPPORTED


@pytest.mark.parametrize(
    ("name", "macs", "bias"),
    [
        ("ethos-u55-128", 128, 40),
        ("ethos-u55-256", 256, 40),
        ("ethos-u65-512", 512, 40),
        ("ethos-u85-512", 512, 48),
        ("ethos-u85-1024", 1024, 48),
    ],
)
def test_ethos_family_shares_one_arithmetic(name: str, macs: int, bias: int) -> None:
    profile, base = load_profile(name), load_profile("ethos-u55-256")
    assert profile.compute.macs_per_cycle["w8a8"] == macs
    assert profile.compute.macs_per_cycle["w8a16"] == macs / 2
    assert profile.bias.signed_bits_max == bias
    assert profile.contract().by_op == base.contract().by_op
    assert profile.op == base.op
    assert profile.op_status("Softmax") is OpStatus.CPU


def test_internal_buffer_of_the_u85_is_not_known() -> None:
    assert load_profile("ethos-u65-512").memory.cache_bytes == 49152
    assert load_profile("ethos-u85-1024").memory.cache_bytes is None
    assert load_profile("ethos-u85-512").memory.cache_bytes is None


def test_htp_states_the_form_of_its_convolutions() -> None:
    contract = load_profile("qnn-htp").contract()
    assert contract.form("Conv") == contract.form("Gemm")
    assert contract.form("Conv").multiplier_bits == 11
    assert contract.form("Conv").post_shift == 14
    assert contract.form("Conv").precision is ScalePrecision.F32_RELATIVE_RAISED
    assert contract.form("Conv_grouped").precision is ScalePrecision.F32_RELATIVE
    assert contract.form("Conv").zero_point is ZeroPointPlace.ACCUMULATOR
    assert contract.form(DEPTHWISE_BY_2).zero_point is ZeroPointPlace.ACCUMULATOR_APART
    assert contract.form("Add").addition is Addition.CUT_SUM
    assert contract.form("Mul").product is Product.CENTRED
    assert contract.form("Concat").rescaling is Rescaling.BY_MAKERS
    assert contract.form("GlobalAveragePool").multiplier_bits == 15
    assert contract.form("AveragePool").kind is Kind.VENDOR


def test_max78000_has_widths_by_layer_and_one_shift() -> None:
    chip = load_profile("max78000")
    assert [str(chip.weight_qtype(bits)) for bits in (1, 2, 4, 8)] == [
        "s1[-1,0]", "s2[-2,1]", "s4[-8,7]", "s8[-128,127]",
    ]  # fmt: skip
    form = chip.contract().form("Conv")
    assert (form.kind, form.shift_min, form.shift_max, form.shared_shift) == (
        Kind.SHIFT, -8, 22, True,
    )  # fmt: skip
