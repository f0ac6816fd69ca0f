"""Bounds of layers as a graph has them, with witnesses that the simulator sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from deployq.arithmetic.contract import Accumulator, Contract, Form, Kind, Overflow, Rounding
from deployq.arithmetic.geometry import ConvGeometry, ConvTransposeGeometry
from deployq.arithmetic.intervals import Interval
from deployq.arithmetic.requant_words import BiasOrder, ZeroPointPlace
from deployq.data import Dataset
from deployq.errors import AccumulatorOverflowError, ProfileError, UnsupportedError
from deployq.overflow.facts import Layer, Verdict
from deployq.overflow.proof import Witness
from deployq.overflow.proving import prove_layers
from deployq.overflow.samples import sample_sums
from deployq.overflow.subject import Subject
from deployq.overflow.witnesses import find_witnesses
from deployq.qgraph import IntegerGraph
from deployq.qgraph.nodes import Move
from deployq.qparams import IntArray
from deployq.qtypes import QType
from deployq.simulator import run_graph
from deployq_targets import TargetProfile, load_profile
from deployq_targets.words import Bound
from tests.arithmetic.cases import Draw, seeds
from tests.overflow.layers import S8, U8, linear, matmul, params, register

WIDE = register(64)
Shapes = Mapping[str, tuple[int, ...]]


def prove(made: IntegerGraph, shapes: Shapes | None, profile: TargetProfile = WIDE) -> Layer:
    (layer,) = prove_layers(Subject(made, profile, shapes))
    return layer


def witnesses(
    made: IntegerGraph, shapes: Shapes | None, profile: TargetProfile, *, every: bool = False
) -> list[tuple[Witness, Mapping[str, IntArray]]]:
    subject = Subject(made, profile, shapes)
    return list(find_witnesses(subject, prove_layers(subject), every_layer=every))


CONVOLUTIONS: dict[str, Any] = {
    "padded": (ConvGeometry((2, 1), (1, 0, 2, 1), (1, 2), 2), (1, 4, 5, 6)),
    "never whole": (ConvGeometry((1, 1), (2, 2, 2, 2)), (1, 2, 2, 2)),
    "transposed": (ConvTransposeGeometry((2, 3), (1, 0, 2, 1), (1, 1), 2, (0, 2)), (1, 4, 4, 3)),
}
LAYERS = {
    **{name: (name, False) for name in CONVOLUTIONS},
    "padded, free size": ("padded", True),
    "transposed, free size": ("transposed", True),
}


@pytest.mark.parametrize(("name", "free"), LAYERS.values(), ids=LAYERS)
@settings(max_examples=12, deadline=None)
@given(seed=seeds)
def test_witnesses_of_convolutions_reach_both_ends(name: str, free: bool, seed: int) -> None:
    draw, (geometry, shape) = Draw(seed), CONVOLUTIONS[name]
    weight = draw.codes(S8, 4, shape[1] // geometry.groups, 3, 3)
    op_type = "ConvTranspose" if isinstance(geometry, ConvTransposeGeometry) else "Conv"
    made = linear(
        op_type, weight, draw.rng.integers(-99, 99, 4), geometry=geometry,
        x=params(U8, zero_point=int(draw.codes(U8))), zero_points=draw.rng.integers(-20, 20, 4),
    )  # fmt: skip
    found = witnesses(made, None if free else {"x": shape, "y": ()}, register(8))
    assert len(found) == 8 and all(witness.reached == witness.bound for witness, _ in found)
    assert all(free or codes["x"].shape == shape for _, codes in found)
    layer = prove(made, None if free else {"x": shape})
    assert layer.assumed == free and layer.attained
    draws = {"x": draw.codes(U8, 64, *shape[1:])}
    seen = sample_sums(made, WIDE.contract(), Dataset(draws), 64)["y"]
    for channel, sums in zip(layer.channels, seen, strict=True):
        assert channel.worst.hull(sums) == channel.worst


@pytest.mark.parametrize("op_type", ["Gemm", "MatMul"])
def test_a_product_with_weights(op_type: str) -> None:
    """(0..255 - 100) times (2, -3), less a zero point of 1: 155 * 1 + 100 * 4, and so on."""
    made = linear(op_type, [[2, 7], [-3, -7]], [10, -5], zero_points=[1, 0])
    first, second = prove(made, {"x": (1, 2)}).channels
    assert first.worst == Interval(10 - 100 - 4 * 155, 10 + 155 + 400)
    assert first.any_order == Interval(-100 - 4 * 155, 10 + 155 + 400)
    assert second.worst == Interval(-5 - 700 - 1085, -5 + 1085 + 700)
    assert (first.weights, first.most_weight) == (5, (2**63 - 1 - 10) // 155)
    found = witnesses(made, {"x": (1, 3, 2)}, register(8))
    assert [(w.channel, w.end, w.position) for w, _ in found] == [
        (channel, end, (0, 0, channel)) for channel in (0, 1) for end in ("low", "high")
    ]
    assert all(w.reached == w.bound for w, _ in found)


def test_the_narrow_range_of_an_input_counts() -> None:
    narrow = params(QType(4, True, narrow_range=True), zero_point=0)
    (channel,) = prove(linear("Gemm", [[1]], x=narrow), {"x": (1, 1)}).channels
    assert channel.worst == Interval(-7, 7)


def test_a_constant_input_is_taken_for_any_of_its_range() -> None:
    made = linear("Gemm", [[1], [1]], x=params(U8))
    made = replace(made, inputs=(), constants={"x": np.array([[3, 7]])})
    layer = prove(made, {"x": (1, 2)})
    assert layer.channels[0].worst == Interval(6, 14) and not layer.attained


@pytest.mark.parametrize(
    ("constants", "shapes", "low", "high"),
    [
        # three times -8 * 155 and 7 * 155
        ({}, {"a": (1, 2, 3), "b": (1, 3, 4)}, -3720, 3255),
        ({"b": np.array([[[1, -1], [2, 1], [3, 4]]])}, {"a": (2, 5, 3)}, -655, 930),
        ({"b": np.array([[[1, -1], [2, 1], [3, 4]]])}, None, -655, 930),
    ],
)
def test_a_product_of_codes(constants: Any, shapes: Any, low: int, high: int) -> None:
    """Columns of the constant: 6 * 155 and -6 * 100; 5 * 155 + 100 and -155 - 5 * 100."""
    made = matmul({"a": params(U8, zero_point=100), "b": params(QType(4, True))}, **constants)
    layer = prove(made, shapes)
    (channel,) = layer.channels
    assert channel.index is None and layer.attained
    assert channel.worst == Interval(low, high) and channel.any_order == channel.worst
    found = witnesses(made, shapes, register(8))
    assert [(w.bound, w.reached) for w, _ in found] == ([(low,) * 2, (high,) * 2] if shapes else [])


def test_a_constant_left_operand() -> None:
    rows = {"a": np.array([[1, -2], [3, 3]])}
    made = matmul({"a": params(S8), "b": params(U8, zero_point=100)}, **rows)
    shapes = {"a": (2, 2), "b": (1, 2, 4), "y": (1, 2, 4)}
    assert prove(made, shapes).channels[0].worst == Interval(-600, 930)
    found = witnesses(made, shapes, register(8))
    assert [(w.bound, w.reached, w.position) for w, _ in found] == [
        (-600, -600, (0, 1, 0)),
        (930, 930, (0, 1, 0)),
    ]


def test_how_many_products_are_summed_has_to_be_known() -> None:
    made = matmul({"a": params(U8), "b": params(U8)})
    layer = prove(made, None, register(32))
    assert layer.verdict(Accumulator(32)) is Verdict.UNKNOWN and not layer.channels
    assert layer.to_json(Accumulator(32))["bits"] is None
    assert witnesses(made, None, register(8)) == []


def test_a_tensor_times_itself_may_stay_below_its_bound() -> None:
    made = matmul({"a": params(S8)})
    layer = prove(made, {"a": (3, 3)})
    assert layer.channels[0].worst == Interval(3 * -128 * 127, 3 * 128 * 128)
    assert layer.verdict(Accumulator(8)) is Verdict.MAY_OVERFLOW
    assert witnesses(made, {"a": (3, 3)}, register(8)) == []


def test_padding_helps_where_zero_is_no_code() -> None:
    """Codes are 1..3 with zero point 0: a position with one real cell can sum to 1."""
    made = linear("Conv", [[[[1, 1]]]], x=params(U8), geometry=ConvGeometry(pads=(0, 1, 0, 0)))
    clip = Move(name="clip", op_type="Clip", inputs=("r",), output="x", bounds=(1, 3))
    made = replace(made, nodes=(clip, *made.nodes), inputs=("r",),
                   qparams={**made.qparams, "r": params(U8)})  # fmt: skip
    known = {"x": (1, 1, 1, 3)}
    layers = [prove_layers(Subject(made, WIDE, shapes))[0] for shapes in (known, None)]
    assert [layer.channels[0].worst for layer in layers] == [Interval(1, 6), Interval(0, 6)]
    assert [layer.attained for layer in layers] == [True, False]


def test_a_bias_behind_the_scale_is_not_in_the_accumulator() -> None:
    early = register(64, base="int8-npu")
    late = early.bias.model_copy(update={"order": BiasOrder.AFTER_SCALE})
    profile = early.model_copy(update={"bias": late})
    made, shapes = linear("Gemm", [[1]], [1000]), {"x": (1, 1)}
    assert prove(made, shapes, early).channels[0].worst == Interval(900, 1155)
    assert prove(made, shapes, profile).channels[0].worst == Interval(-100, 155)
    narrow = profile.model_copy(update={"accumulator": register(8).accumulator})
    assert [w.reached for w, _ in witnesses(made, shapes, narrow)] == [155]
    data = Dataset({"x": np.uint8([[0], [255]])})
    for stated, low in ((early, 900), (profile, -100)):
        assert sample_sums(made, stated.contract(), data, 2)["y"] == (Interval(low, low + 255),)


def test_a_bias_on_a_scale_of_its_own_is_in_no_accumulator() -> None:
    """Real arithmetic adds it to the scaled sum; others have no place for it."""
    made, shapes = linear("Gemm", [[1]], [1000]), {"x": (1, 1)}
    node = replace(made.nodes[0], bias_step=np.array([0.25]))
    made = replace(made, nodes=(node,))
    real = register(32, base="tensorrt")
    assert prove(made, shapes, real).channels[0].worst == Interval(-100, 155)
    with pytest.raises(UnsupportedError, match=r"layer\.bias: the bias scale is"):
        prove(made, shapes, WIDE)


def test_a_folded_zero_point_counts_in_any_order_only() -> None:
    """Output zero point 3, multiplier 1 / 1000."""
    made, shapes, htp = linear("Gemm", [[1]]), {"x": (1, 1)}, load_profile("qnn-htp")
    (channel,) = prove(made, shapes, htp).channels
    assert channel.worst == Interval(-100, 155)
    assert channel.any_order == Interval(-100, 155 + 3000)
    everywhere = WIDE.requant.model_copy(update={"zero_point": ZeroPointPlace.ACCUMULATOR})
    product = matmul({"a": params(U8, zero_point=100), "b": params(U8)})
    (channel,) = prove(product, {"a": (1, 1), "b": (1, 1)}, WIDE.model_copy(
        update={"requant": everywhere})).channels  # fmt: skip
    assert channel.any_order == Interval(-100 * 255, 155 * 255 + 3000)


def test_thresholds_leave_sums_as_they_are() -> None:
    """Output zero point 3, multiplier 1 / 1000: code 28 from 24 500 on."""
    counted = WIDE.requant.model_copy(update={"kind": Kind.THRESHOLDS})
    profile = WIDE.model_copy(update={"requant": counted})
    made, shapes = linear("Gemm", np.full((2, 1), 80), [-300]), {"x": (1, 2)}
    assert prove(made, shapes, profile).channels == prove(made, shapes).channels
    low, high = witnesses(made, shapes, profile.model_copy(
        update={"accumulator": register(12).accumulator}))  # fmt: skip
    assert (low[0].reached, high[0].reached) == (-16300, 24500)
    codes = {
        mode: run_graph(made, Contract("counted", Form(Kind.THRESHOLDS, mode)), high[1]).codes["y"]
        for mode in (Rounding.HALF_EVEN, Rounding.HALF_UP)
    }
    assert [found.tolist() for found in codes.values()] == [[[27]], [[28]]]


@pytest.mark.parametrize(
    ("overflow", "code"),
    # 24 800 in 12 bits: 224 when it wraps, 2 047 when it saturates; the scale is 1 / 1000
    [(Overflow.WRAP, 3), (Overflow.SATURATE, 5), (Overflow.REJECT, None)],
)
def test_a_witness_overflows_a_narrower_accumulator(overflow: Overflow, code: int | None) -> None:
    made, shapes = linear("Gemm", np.full((2, 1), 80)), {"x": (1, 2)}
    contract = register(12, overflow).contract()
    _, high = witnesses(made, shapes, register(12, overflow))
    assert high[0].bound == high[0].reached == 24800
    enough = run_graph(made, WIDE.contract(), high[1]).codes["y"]
    assert enough.tolist() == [[28]]
    if code is None:
        with pytest.raises(AccumulatorOverflowError, match=r"(?s)channel 0.*found: 24800"):
            run_graph(made, contract, high[1])
    else:
        assert run_graph(made, contract, high[1]).codes["y"].tolist() == [[code]]


def test_every_layer_has_a_witness_on_request() -> None:
    made, shapes = linear("Gemm", [[1, 9], [1, 9]]), {"x": (1, 2)}
    assert witnesses(made, shapes, register(32)) == []
    ((witness, codes),) = witnesses(made, shapes, register(32), every=True)
    assert (witness.channel, witness.end, witness.reached) == (1, "high", 18 * 155)
    assert codes["x"].tolist() == [[255, 255]] and codes["x"].dtype == np.uint8


def test_no_witness_of_a_sum_that_the_simulator_cannot_make() -> None:
    s32 = params(QType(32, True))
    made = linear("Gemm", np.full((2**3, 1), 2**31 - 1), x=s32)
    layer = prove(made, {"x": (1, 8)}, register(32))
    assert layer.bits == 66 and layer.verdict(Accumulator(32)) is Verdict.OVERFLOWS
    assert witnesses(made, {"x": (1, 8)}, register(32)) == []


def test_the_sums_of_samples() -> None:
    data = {"x": np.array([[0, 0], [255, 100], [100, 255]], np.uint8)}
    found = sample_sums(linear("Gemm", [[1, 9], [-1, 9]]), register(8).contract(), Dataset(data), 2)
    assert found["y"] == (Interval(-155, 155), Interval(-1800, 1395))
    made = matmul({"a": params(U8), "b": params(S8)}, b=np.array([[2, -3]]))
    found = sample_sums(made, register(8).contract(), Dataset({"a": np.uint8([[[1]], [[7]]])}), 2)
    assert found["y"] == (Interval(-21, 14),)


def test_what_cannot_be_proven_is_refused() -> None:
    made = linear("Gemm", [[1]])
    with pytest.raises(UnsupportedError, match=r"(?s)needs a Conv.*found: 0 operators, 0 of them"):
        prove_layers(Subject(replace(made, nodes=()), WIDE, None))
    datatype = WIDE.accumulator.model_copy(update={"bound": Bound.DATATYPE})
    with pytest.raises(ProfileError, match=r"(?s)accumulator\.bound.*found: datatype"):
        Subject(made, WIDE.model_copy(update={"accumulator": datatype}), None)
