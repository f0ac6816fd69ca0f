"""Operators whose stated arithmetic nothing simulates are refused before calibration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deployq.arithmetic.contract import Kind
from deployq.arithmetic.requant_words import (
    Addition,
    Averaging,
    Functions,
    Gating,
    Mantissa,
    Product,
    Rescaling,
    ScalePrecision,
    ZeroPointPlace,
)
from deployq.errors import DeployqError, ProfileError, UnsupportedError
from deployq.graph.capture import capture
from deployq.graph.preparation import prepare_graph
from deployq.graph.support import support
from deployq_targets import builtin_names, load_profile
from deployq_targets.arithmetic import RequantChange
from deployq_targets.loader import parse_profile
from tests.graph.networks import Net, conv, profile_with, residual_graph

PREPARED = (
    "cmsis-nn", "ethos-u55-128", "ethos-u55-256", "ethos-u65-512", "ethos-u85-1024",
    "ethos-u85-512", "int2-vlsi", "int4-npu", "int8-npu", "litert-16x8",
    "litert-16x8-optimized", "litert-optimized", "litert-ref", "litert-xnnpack", "lowbit-vlsi",
    "max78000", "nvdla-small", "openvino-cpu", "ort-cpu", "qnn-htp", "tensorrt",
)  # fmt: skip


def conv_graph() -> torch.fx.GraphModule:
    net = Net(lambda m, x: F.relu(m.conv(x)), conv=conv(3, 4))
    return capture(net, [torch.zeros(1, 3, 8, 8)])


@pytest.mark.parametrize("name", builtin_names())
def test_support_says_what_preparation_does(name: str) -> None:
    profile, found = load_profile(name), support(load_profile(name))
    assert found.prepared is (name in PREPARED)
    if found.prepared:
        assert prepare_graph(conv_graph(), profile).plan.target == name
    else:
        with pytest.raises(DeployqError, match=found.reason.partition(" = ")[0]):
            prepare_graph(conv_graph(), profile)


def test_operator_without_simulation_is_refused_by_tensor_and_word() -> None:
    net = Net(lambda m, x: F.avg_pool2d(m.conv(x), 3), conv=conv(3, 4))
    pooled = capture(net, [torch.zeros(1, 3, 8, 8)])
    with pytest.raises(UnsupportedError) as caught:
        prepare_graph(pooled, load_profile("qnn-htp"))
    assert caught.value.found == "requant.kind = vendor"
    assert caught.value.where and "qnn-htp" in caught.value.rule and caught.value.next_step


def test_windows_of_a_mean_that_are_not_known_are_refused() -> None:
    def net(side: int, stride: int, pad: int = 0) -> torch.fx.GraphModule:
        made = Net(lambda m, x: F.avg_pool2d(m.conv(x), side, stride, pad), conv=conv(3, 4))
        return capture(made, [torch.zeros(1, 3, 8, 8)])

    profile = load_profile("qnn-htp")
    for side in (2, 3, 5, 7):
        assert prepare_graph(net(side, 2), profile).plan.target == profile.name
    for other in ((4, 2), (3, 1), (3, 2, 1), (6, 2)):
        with pytest.raises(UnsupportedError, match="can be simulated"):
            prepare_graph(net(*other), profile)


def test_rows_that_a_softmax_is_not_known_for_count_as_in_float() -> None:
    def net(classes: int) -> torch.fx.GraphModule:
        layer = nn.Linear(4, classes)
        made = Net(
            lambda m, x: F.softmax(m.fc(m.conv(x).mean((2, 3))), -1), conv=conv(3, 4), fc=layer
        )
        return capture(made, [torch.zeros(1, 3, 8, 8)])

    profile = load_profile("qnn-htp")
    assert prepare_graph(net(2), profile).plan.floats == ()
    line = "softmax: float, the codes of qnn-htp are not known for rows of 3"
    assert prepare_graph(net(3), profile).plan.floats == (line,)
    table = profile.model_dump(mode="json", exclude_none=True)
    table["graph"]["unlisted_ops"] = "refuse"
    for rule in table["op"]:
        rule["status"] = "integer" if rule["status"] in ("float", "cpu") else rule["status"]
    alone = parse_profile(table, "alone")
    with pytest.raises(UnsupportedError, match="rows of two") as caught:
        prepare_graph(net(3), alone)
    assert (caught.value.where, caught.value.found) == ("softmax", "rows of 3")


def test_kind_of_an_operator_is_refused_where_its_operator_is_not() -> None:
    def net(stride: int) -> torch.fx.GraphModule:
        gaps = nn.Conv2d(3, 4, 3, stride=stride, dilation=2)
        made = Net(lambda m, x: F.relu(m.conv(x)), conv=gaps)
        return capture(made, [torch.zeros(1, 3, 8, 8)])

    profile = load_profile("qnn-htp")
    assert prepare_graph(net(1), profile).plan.target == profile.name
    with pytest.raises(UnsupportedError) as caught:
        prepare_graph(net(2), profile)
    assert caught.value.found == "requant.by_op.Conv_dilated_in_steps.kind = vendor"


def test_word_that_an_operator_does_not_obey_is_refused_by_its_name() -> None:
    profile = profile_with("int8-npu", requant__by_op={"Add": {"zero_point": "apart"}})
    with pytest.raises(UnsupportedError, match=r"requant\.by_op\.Add\.zero_point = apart"):
        prepare_graph(residual_graph(), profile)


def test_vendors_arithmetic_is_refused() -> None:
    secret = {"requant__kind": "vendor", "requant__rounding": "vendor"}
    profile = profile_with("int8-npu", **secret, requant__multiplier_bits=None)
    with pytest.raises(UnsupportedError, match=r"requant\.kind = vendor"):
        prepare_graph(conv_graph(), profile)
    assert str(support(profile)) == "no: requant.kind = vendor"


def test_support_names_the_operators_that_are_left_out() -> None:
    assert str(support(load_profile("qnn-htp"))).startswith("yes, without ConvTranspose, Average")
    assert str(support(load_profile("int8-npu"))) == "yes"


DOCUMENT = Path(__file__).parents[2] / "docs/targets.md"


def test_documents_list_every_builtin_profile() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in builtin_names() if f"`{name}`" not in text] == []


def test_documents_explain_every_word_of_a_requantization() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    words = {*RequantChange.model_fields, *ScalePrecision, *ZeroPointPlace, *Addition}
    words |= {*Averaging, *Functions, *Gating, *Kind, *Mantissa, *Product, *Rescaling}
    assert sorted(word for word in words if f"`{word}`" not in text) == []


def documented(section: str) -> str:
    """The TOML in a section of the page."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(f"## {section}\n")[2]
    return text.partition("```toml\n")[2].partition("```")[0]


def test_documented_profile_is_prepared(tmp_path: Path) -> None:
    path = tmp_path / "my-chip.toml"
    path.write_text(documented("A profile of your own"), encoding="utf-8")
    prepared = prepare_graph(conv_graph(), load_profile(str(path)))
    assert prepared.profile.contract().default.multiplier_bits == 16
    assert prepared.profile.op_status("Resize") == "unsupported"


def test_documented_thresholds_are_prepared_and_need_every_kind(tmp_path: Path) -> None:
    head = 'schema = 1\nname = "counting"\nsummary = "a chip that counts"\n'
    path, text = tmp_path / "counting.toml", head + documented("Thresholds")
    path.write_text(text, encoding="utf-8")
    profile = load_profile(str(path))
    assert profile.any_channel_scale and str(support(profile)) == "yes"
    assert prepare_graph(residual_graph(), profile).profile.requant.kind is Kind.THRESHOLDS
    path.write_text(text.replace("Mul =", "Gemm ="), encoding="utf-8")
    with pytest.raises(ProfileError, match=r"requant\.by_op\.Mul") as caught:
        load_profile(str(path))
    assert caught.value.found == "kind thresholds, as [requant] says"
