"""Six single faults, one of each kind, are named; a seventh is unknown; equals are told as such."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import deployq
from deployq.arithmetic.contract import QDQ, Contract, Form, Kind, Rounding
from deployq.arithmetic.requant_words import BiasOrder, Functions, Gating, Softmax
from deployq.divergence.facts import UNKNOWN, Cause, Divergence
from deployq.divergence.layer import Layer
from deployq.divergence.sides import Simulated
from deployq.divergence.substitutions.kinds import to_kind
from tests.divergence.planted import (
    FIXED,
    IN_FLOAT,
    ClipsEarly,
    constants,
    convs,
    inputs,
    simulated,
    with_form,
    wrapping,
)
from tests.qgraph.texts import qdq
from tests.simulator.nets import reals, small_net


def compared(b: Simulated, a: Simulated | None = None) -> Divergence:
    """A fault shows in the first layer; one of the file does not in the second, fed A's codes."""
    a = a or simulated(convs())
    found = deployq.diff(a, b, inputs(), layers=9)
    assert found.exit_code == 1
    assert found.first is not None and found.first.tensor == "h"
    assert found.first.free == found.first.fed
    layers = ["h"] if a.contract == b.contract else ["h", "c"]
    assert [e.tensor for e in found.explanations] == layers[: len(found.explanations)]
    return found


def changes(found: Divergence) -> set[str]:
    return {tried.text for tried in found.explanations[0].shown}


def verdict(found: Divergence) -> str:
    return found.explanations[0].verdict


def test_rounding_is_named() -> None:
    """Powers of two put many sums half way between two codes."""
    even = with_form(rounding=Rounding.HALF_EVEN)
    found = deployq.diff(
        simulated(convs(ties=True)), simulated(convs(ties=True), even, "B"), inputs()
    )
    assert verdict(found) == Cause.ROUNDING
    assert "half_even for half_up" in changes(found)
    assert "floor for half_up" not in changes(found)


def test_the_width_of_the_multiplier_is_named_and_found() -> None:
    found = compared(simulated(convs(), with_form(multiplier_bits=8), "B"))
    assert verdict(found) == Cause.MULTIPLIER
    assert changes(found) == {"a mantissa of 8 bits"}


def test_a_float32_multiplier_is_found() -> None:
    eight = Contract("8 bits", Form(Kind.FIXED, multiplier_bits=8))
    real = Contract("float32", Form(Kind.FLOAT32))
    found = compared(simulated(convs(), real, "B"), simulated(convs(), eight))
    assert verdict(found) == Cause.MULTIPLIER and "float32" in changes(found)


def test_thresholds_are_named() -> None:
    counted = Contract("counted", Form(Kind.THRESHOLDS, Rounding.HALF_UP))
    eight = with_form(multiplier_bits=8)
    found = compared(simulated(convs(), counted, "B"), simulated(convs(), eight))
    assert verdict(found) == Cause.MULTIPLIER and "thresholds" in changes(found)
    found = compared(simulated(convs(), eight, "B"), simulated(convs(), counted))
    assert verdict(found) == Cause.MULTIPLIER and changes(found) == {"a mantissa of 8 bits"}


def test_thresholds_that_round_unlike_the_file_are_named() -> None:
    real = Contract("real", Form(Kind.EXACT))
    counted = Contract("counted", Form(Kind.THRESHOLDS, Rounding.FLOOR))
    found = compared(simulated(convs(), counted, "B"), simulated(convs(), real))
    assert verdict(found) == Cause.ROUNDING
    assert "floor for half_even, by thresholds" in changes(found)


def test_the_rounding_of_thresholds_is_named() -> None:
    a, b = (
        Contract(mode, Form(Kind.THRESHOLDS, mode)) for mode in (Rounding.HALF_UP, Rounding.FLOOR)
    )
    found = compared(simulated(convs(), b, "B"), simulated(convs(), a))
    assert verdict(found) == Cause.ROUNDING and "floor for half_up" in changes(found)
    assert "half_even for half_up" not in changes(found)


def test_the_rounding_of_biases_is_named() -> None:
    whole = constants()["b1"]
    floored = whole - np.int32([1, 0, 1, 1])  # of reals that rounding to nearest puts higher
    found = compared(simulated(convs(b1=floored), label="B"))
    assert verdict(found) == Cause.BIAS
    assert changes(found) == {"3 of 4 bias codes one away"}


def test_biases_further_apart_are_not_rounding() -> None:
    other = constants()["b1"] - np.int32([700, 0, 0, 0])
    found = compared(simulated(convs(b1=other), label="B"))
    assert verdict(found) == UNKNOWN


def test_a_bias_that_a_file_holds_as_reals() -> None:
    """The side that truncates the reals of its file to codes."""
    c = constants()
    reals = (c["b1"] + np.float64([0.7, 0.6, -0.8, 0.3])) * c["sb1"]
    whole = convs()
    for layer in whole.graph.node:
        if layer.op_type == "Conv" and layer.input[2:]:
            layer.input[2] = "reals"
    whole.graph.initializer.append(onnx.numpy_helper.from_array(reals.astype(np.float32), "reals"))
    cut = np.trunc(reals / c["sb1"]).astype(np.int32)
    found = compared(simulated(convs(b1=cut), label="B"), simulated(whole))
    assert verdict(found) == Cause.BIAS and "bias rounded trunc" in changes(found)


def test_biases_after_the_scale_have_no_codes_to_round() -> None:
    """Other changes are tried on them as on any; a bias of another file is told as unknown."""
    late = replace(FIXED, name="late", bias_order=BiasOrder.AFTER_SCALE)
    a, short = simulated(convs(), late), replace(late, default=Form(Kind.FIXED, multiplier_bits=8))
    same = deployq.diff(a, simulated(convs(), late, "B"), inputs())
    assert same.exit_code == 0 and same.compared > 1000
    assert verdict(compared(simulated(convs(), short, "B"), a)) == Cause.MULTIPLIER
    other = convs(b1=constants()["b1"] - np.int32([1, 0, 1, 1]))
    assert verdict(compared(simulated(other, late, "B"), a)) == UNKNOWN


def test_the_order_of_clipping_is_named() -> None:
    b = simulated(convs())
    found = compared(ClipsEarly("B", b.file, FIXED))
    assert verdict(found) == Cause.CLIP
    assert changes(found) == {"saturated before the zero point is added"}


def test_a_dropped_relu_is_named() -> None:
    found = compared(simulated(convs(""), label="B"))
    assert verdict(found) == Cause.FUSION and changes(found) == {"Relu or Clip dropped"}
    found = compared(simulated(convs(), label="B"), simulated(convs("")))
    assert verdict(found) == Cause.FUSION
    assert changes(found) == {"Relu or Clip to codes -20..127 taken in"}


def test_a_wrapping_accumulator_is_named_and_its_width_found() -> None:
    found = compared(simulated(convs(), wrapping(16), "B"))
    assert verdict(found) == Cause.SATURATION
    assert changes(found) == {"an accumulator that wraps of 16 bits"}


@pytest.mark.parametrize("fault", ["weight", "window"])
def test_another_kind_is_unknown(fault: str) -> None:
    weight = constants()["w1"].copy()
    weight[2, 1, 0, 2] ^= 64
    other = convs(w1=weight) if fault == "weight" else convs(pads="0,0,2,2")
    found = compared(simulated(other, label="B"))
    (explanation,) = found.explanations
    assert explanation.verdict == UNKNOWN and not explanation.shown
    assert explanation.changes > 100 and not explanation.remark


def test_the_closest_change_is_information_only() -> None:
    """A narrow multiplier and a changed weight at once: neither is the whole of it."""
    weight = constants()["w1"].copy()
    weight[0, 0, 0, 0] ^= 1
    found = compared(simulated(convs(w1=weight), with_form(multiplier_bits=8), "B"))
    explanation = found.explanations[0]
    closest = explanation.closest
    assert explanation.verdict == UNKNOWN and closest is not None
    assert closest.cause is Cause.MULTIPLIER and 0 < explanation.share(closest) < 1


def test_causes_that_the_data_does_not_tell_apart_are_all_named() -> None:
    """On a multiplier of 2**-7, one less in the bias turns ties down, and nothing else."""
    lower = convs(ties=True, b1=constants(ties=True)["b1"] - 1)
    found = compared(simulated(lower, label="B"), simulated(convs(ties=True)))
    assert found.explanations[0].causes == (Cause.ROUNDING, Cause.BIAS)
    assert verdict(found) == "rounding or bias rounding"
    assert changes(found) >= {"half_down for half_up", "4 of 4 bias codes one away"}


def test_an_operator_in_float_is_not_substituted() -> None:
    changed = constants()["w1"] // 2
    a, b = (simulated(convs(IN_FLOAT, **weights)) for weights in ({}, {"w1": changed}))
    (explanation,) = compared(b, a).explanations
    assert explanation.verdict == UNKNOWN and explanation.node == ""
    assert explanation.remark == "no integer operator computes it"


def test_ties_of_the_zero_point_are_rounding(tmp_path: Path) -> None:
    """ONNX Runtime's Add has the zero point inside its rounding."""
    path = tmp_path / "net.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(small_net(17, ties=True)), path)
    found = deployq.diff(f"sim:{path}@ort-cpu", f"sim:{path}@onnx-qdq", {"x": reals()})
    assert found.explanations[0].node.startswith("Add")
    assert verdict(found) == Cause.ROUNDING and changes(found) == {"zero point after rounding"}


def test_nothing_is_explained_where_nothing_differs() -> None:
    found = deployq.diff(simulated(convs()), simulated(convs(), label="B"), inputs())
    assert (found.exit_code, found.first, found.explanations) == (0, None, ())
    assert found.compared == 8 * 64 * (3 + 4 + 2)


def test_what_lies_before_a_layer_does_not_explain_it() -> None:
    """A is changed where no tensor is shared: the layer itself computes the same."""
    other = constants() | {"sa": np.float32(0.022)}
    other["sb1"] = other["sa"] * other["sw1"]
    found = deployq.diff(simulated(convs()), simulated(convs(**other), label="B"), inputs())
    assert [(a.tensor, a.differs) for a in found.apart] == [("a", True)]
    (explanation,) = found.explanations
    assert (explanation.tensor, explanation.verdict) == ("h", UNKNOWN)


def facts(found: Divergence) -> dict[str, Any]:
    return found.to_json()["explanations"][0]


def test_json_says_what_the_object_says() -> None:
    found = compared(simulated(convs(), with_form(multiplier_bits=8), "B"))
    said = facts(found)
    assert said["verdict"] == "multiplier width" and said["closest"] is None
    assert said["shown"] == [
        {"cause": "multiplier width", "change": "a mantissa of 8 bits", "different": 0}
    ]
    assert said["changed"] == "A" and said["reproduced"] == "B"


def test_a_longer_change_is_not_claimed_beside_the_shorter_one() -> None:
    """A mantissa of 31 bits gives every code: rounding half up on such a mantissa shows nothing."""
    c = constants()
    bias = np.int32([2**29, -(2**29), 2**28 + 77, 2**28 + 12345])  # float32 has not all their bits
    c |= {"b1": bias, "sh": np.float32(c["sb1"][0] * 2.0**29 / 20000), "zh": np.int16(3)}
    real, fixed = (Contract(kind, Form(kind)) for kind in (Kind.FLOAT32, Kind.FIXED))
    found = compared(simulated(convs("", **c), fixed, "B"), simulated(convs("", **c), real))
    assert verdict(found) == Cause.MULTIPLIER and "a mantissa of 31 bits" in changes(found)


def test_another_kind_of_multiplier_keeps_its_tables() -> None:
    form = Form(Kind.FLOAT32, functions=Functions.RATIONAL, softmax=Softmax.SCALED_TABLE)
    graph = simulated(convs()).file.graph
    layer = Layer(graph.nodes[1], (), graph.qparams["h"], Contract("rational", form), None)
    exact = to_kind(layer, Kind.EXACT).form
    assert (exact.kind, exact.functions, exact.softmax) == (
        Kind.EXACT, Functions.RATIONAL, Softmax.SCALED_TABLE
    )  # fmt: skip


def test_a_gate_that_one_side_joins_differs_at_its_product_alone() -> None:
    gate = """s = Sigmoid(xd)  sq = QuantizeLinear(s, sx, zx)  sd = DequantizeLinear(sq, sx, zx)
        v = Mul(xd, sd)"""
    file, joined = qdq(gate), replace(QDQ, by_op={"Mul": Form(Kind.EXACT, gating=Gating.JOINED)})
    for one, other in ((joined, QDQ), (QDQ, joined)):
        found = deployq.diff(simulated(file, one), simulated(file, other, "B"), inputs(), layers=9)
        assert [(e.tensor, e.verdict) for e in found.explanations] == [("yq", UNKNOWN)]
