"""Values with evidence and origin, and the difference of two profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployq_targets import load_profile
from deployq_targets.describe import differences, stated_values
from deployq_targets.loader import load_stated

if TYPE_CHECKING:  # every folder of tests has a module of this name
    from conftest import Write

CHILD = """
schema = 1
name = "child"
summary = "a child"
extends = "int8-npu"
[evidence]
"requant.rounding" = "E"
[requant]
rounding = "double"
[[op]]
type = "Conv"
stride = [1, 2]
[[op]]
type = "Conv"
group = "depthwise"
kernel_h = [3, 3]
"""


def test_values_name_their_file_and_evidence(write: Write) -> None:
    path = str(write("child.toml", CHILD))
    values = stated_values(load_stated(path))
    rounding, bits = values["requant.rounding"], values["requant.multiplier_bits"]
    assert (rounding.value, rounding.evidence, rounding.origin) == ("double", "E", path)
    assert (bits.value, bits.evidence, bits.origin) == (31, "D", "int8-npu")
    assert values["weight.qmin.8"].value == -127


def test_operators_go_by_type_and_group(write: Write) -> None:
    path = str(write("child.toml", CHILD))
    values = stated_values(load_stated(path))
    assert values["op.Conv.stride"].origin == path
    assert values["op.Conv.status"].origin == "int8-npu"  # the child only adds a key
    depthwise = values["op.Conv[depthwise].kernel_h"]
    assert (depthwise.value, depthwise.evidence) == ([3, 3], "U")  # by the tag of "op"
    assert values["op.Softmax.status"].value == "cpu"


def test_difference_holds_both_values(write: Write) -> None:
    child = load_profile(str(write("child.toml", CHILD)))
    assert differences(load_profile("int8-npu"), child) == {
        "requant.rounding": ("half_up", "double"),
        "op.Conv.stride": (None, [1, 2]),
        "op.Conv[depthwise].status": (None, "integer"),
        "op.Conv[depthwise].kernel_h": (None, [3, 3]),
    }


def test_profile_does_not_differ_from_itself() -> None:
    assert differences(load_profile("ort-cpu"), load_profile("ort-cpu")) == {}


def test_default_of_the_schema_is_a_value() -> None:
    pairs = differences(load_profile("ort-cpu"), load_profile("max78000"))
    assert pairs["weight.constant"] == (False, True)
