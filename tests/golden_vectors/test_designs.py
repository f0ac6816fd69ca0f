"""Designed inputs reach what they are said to reach."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from deployq.golden_vectors.cases import Case
from deployq.golden_vectors.solving import solve
from deployq.golden_vectors.windows import layer_window
from deployq.qgraph.nodes import Linear
from deployq_exporters.golden.trace import Layer, Source, Vectors
from tests.golden_vectors.programs import reals, traced
from tests.graph.networks import counting, profile_with
from tests.qgraph.texts import node, read
from tests.simulator.nets import reals as images
from tests.simulator.nets import small_net

CONV = """wd = DequantizeLinear <axis = 0> (w, sw4, zw4)
    bd = DequantizeLinear <axis = 0> (b, sb4)
    v = Conv <strides = [2, 1], pads = [1, 0, 0, 2]> (xd, wd, bd)"""
SB4: dict[str, Any] = {"sb4": np.float32(0.5) * np.float32([0.125, 0.25, 0.5, 1.0])}


def conv(target: Any = "int8-npu", **constants: Any) -> Layer:
    graph = read(CONV, **(SB4 | constants))
    return traced(graph, target, reals((1, 3, 8, 8))).layers[0]


def designed(layer: Layer, source: Source = Source.DESIGNED) -> Vectors:
    (found,) = (v for v in layer.vectors if v.source is source)
    return found


def rows(vectors: Vectors, case: Case) -> list[int]:
    return [i for i, reaches in enumerate(vectors.reaches) if case in reaches]


def test_every_case_of_a_convolution_is_reached() -> None:
    layer = conv()
    vectors = designed(layer)
    assert layer.missed == {} and all(rows(vectors, case) for case in Case)


def test_a_reached_case_is_there_to_be_seen() -> None:
    """The arithmetic of int8-npu written out: acc * m, half up; m is a power of two here."""
    layer = conv()
    vectors = designed(layer)
    (codes,), sums, output = vectors.inputs, vectors.sums, vectors.output
    assert sums is not None
    real = np.array([0.25, 0.5, 1.0, 2.0]).reshape(1, 4, 1, 1)  # 0.5 * sw / 0.25
    exact = sums * real
    seen = {
        Case.ZERO_POINT: [(x == 3).all() for x in codes],
        Case.LOWEST: [(x == 0).all() for x in codes],
        Case.HIGHEST: [(x == 255).all() for x in codes],
        Case.CLIPPED_HIGH: [bool((np.floor(e + 0.5) + 5 > 255).any()) for e in exact],
        Case.CLIPPED_LOW: [bool((np.floor(e + 0.5) + 5 < 0).any()) for e in exact],
        Case.TIE_ABOVE: [bool(((e % 1 == 0.5) & (e > 0)).any()) for e in exact],
        Case.TIE_BELOW: [bool(((e % 1 == 0.5) & (e < 0)).any()) for e in exact],
    }
    for case, mask in seen.items():
        assert rows(vectors, case) == [i for i, hit in enumerate(mask) if hit], case
    np.testing.assert_array_equal(output, np.clip(np.floor(exact + 0.5) + 5, 0, 255))


def test_thresholds_are_reached_and_missed_by_one() -> None:
    layer = conv(counting(), sy=np.float32(0.5))
    assert layer.missed == {}
    vectors = designed(layer)
    sums, real = vectors.sums, np.array([0.125, 0.25, 0.5, 1.0]).reshape(1, 4, 1, 1)
    assert sums is not None
    exact = sums * real  # half up: a threshold is where the fraction passes a half
    codes = np.floor(exact + 0.5) + 5
    first = np.floor(exact + 0.5) != np.floor(exact - real + 0.5)
    inside = (codes > 0) & (codes <= 255) & first
    seen = {Case.CLIPPED_HIGH: codes > 255, Case.CLIPPED_LOW: codes < 0,
            Case.TIE_ABOVE: inside & (sums > 0), Case.TIE_BELOW: inside & (sums < 0)}  # fmt: skip
    for case, mask in seen.items():
        assert rows(vectors, case) == [i for i, hit in enumerate(mask) if hit.any()], case
    np.testing.assert_array_equal(vectors.output, codes.clip(0, 255))
    steps = designed(layer, Source.SUMS)
    assert steps.sums is not None and steps.output.shape == (2 * 255, 4)
    jumps = steps.output[:255].astype(int) - steps.output[255:]
    assert (jumps == 1).all()


def test_the_extremes_are_those_of_all_inputs() -> None:
    """By trying every corner: a sum is linear in each code."""
    weight = np.random.default_rng(0).integers(-128, 128, (4, 3, 1, 1)).astype(np.int8)
    layer = conv(w=weight)
    found = layer.node
    assert isinstance(found, Linear)
    shifted = weight[:, :, 0, 0].astype(int) - np.array([0, 1, -2, 3])[:, None]
    corners = np.array(list(itertools.product((0 - 3, 255 - 3), repeat=3)))
    sums = corners @ shifted.T + np.array([10, -20, 30, 40])
    low, high = layer_window(found).bounds(-3, 252)
    np.testing.assert_array_equal(low, sums.min(0))
    np.testing.assert_array_equal(high, sums.max(0))
    reached = designed(layer).sums
    assert reached is not None and (reached.min(), reached.max()) == (low.min(), high.max())


def test_a_transposed_convolution_has_its_extremes_where_windows_overlap() -> None:
    codes = np.random.default_rng(1).integers(-9, 10, (3, 4, 3, 3)).astype(np.int8)
    body = "v = ConvTranspose <strides = [2, 2], pads = [1, 1, 0, 1]> (xd, wd)"
    graph = read(f"wd = DequantizeLinear(t, sw)\n{body}", t=codes)
    found = node(graph, "yq")
    low, high = layer_window(found).bounds(-3, 252)
    # two taps along each axis meet at a cell: taps 0 and 2
    taps = codes[:, :, ::2, ::2].astype(int).transpose(1, 0, 2, 3).reshape(4, -1)
    np.testing.assert_array_equal(high, np.where(taps > 0, taps * 252, taps * -3).sum(1))
    np.testing.assert_array_equal(low, np.where(taps > 0, taps * -3, taps * 252).sum(1))
    layer = traced(graph, "int8-npu", reals((1, 3, 8, 8))).layers[0]
    assert {Case.LARGEST_SUM, Case.SMALLEST_SUM} & set(layer.missed) == set()


def test_a_product_of_activations_reaches_its_extremes() -> None:
    graph = read("k = Transpose <perm = [0, 1, 3, 2]> (xd)\nv = MatMul(xd, k)")
    layer = traced(graph, "int8-npu", reals((1, 3, 8, 8))).layers[-1]
    assert layer.node.op_type == "MatMul" and Case.LARGEST_SUM not in layer.missed
    sums = designed(layer).sums
    assert sums is not None and (sums.min(), sums.max()) == (8 * -3 * 252, 8 * 252 * 252)


def test_what_cannot_be_reached_is_said_with_its_reason() -> None:
    layer = conv(sy=np.float32(0.3))  # a mantissa of 31 bits, odd: ties lie beyond 2**31
    assert set(layer.missed) == {Case.TIE_ABOVE, Case.TIE_BELOW}
    assert set(layer.missed.values()) == {"no sum between two codes of the output is a tie"}
    wide = conv(sy=np.float32(64.0))
    assert wide.missed[Case.CLIPPED_LOW] == "the largest and smallest sums do not"


def test_sums_that_the_contract_rejects_are_left_out() -> None:
    profile = profile_with("int8-npu", accumulator__bits=16, bias__signed_bits_max=32)
    graph = read(CONV, w=np.full((4, 3, 1, 1), 127, np.int8), **SB4)
    layer = traced(graph, profile, reals((1, 3, 8, 8), 0, 2)).layers[0]
    assert layer.missed[Case.LARGEST_SUM] == "the contract rejects sums that large"
    sums = designed(layer).sums
    assert sums is not None and len(sums) > 1 and np.abs(sums).max() < 1 << 15


def test_ties_of_both_signs_in_floats_and_in_two_roundings() -> None:
    for target in ("ort-cpu", "litert-ref", "litert-xnnpack"):
        layer = conv(target)
        assert {Case.TIE_ABOVE, Case.TIE_BELOW} & set(layer.missed) == set(), target


def test_finished_sums_span_the_output_and_tie() -> None:
    vectors = designed(conv(), Source.SUMS)
    assert vectors.sums is not None and vectors.inputs == ()
    reached = {case for row in vectors.reaches for case in row}
    assert reached == {Case.CLIPPED_HIGH, Case.CLIPPED_LOW, Case.TIE_ABOVE, Case.TIE_BELOW}


def test_operators_without_sums_have_vectors_too() -> None:
    layers = traced(small_net(17, ties=True), "ort-cpu", images(1)).layers
    by_op = {layer.node.op_type: layer for layer in layers}
    assert len(designed(by_op["LeakyRelu"]).output) == 256
    for op in ("Add", "Mul", "GlobalAveragePool"):
        vectors = designed(by_op[op])
        assert rows(vectors, Case.ZERO_POINT) and rows(vectors, Case.TIE_ABOVE), op
    assert by_op["AveragePool"].missed[Case.TIE_ABOVE] == "not looked for in this arithmetic"
    assert [v.source for v in by_op["Flatten"].vectors] == [Source.DATA]


def test_a_padded_pool_ties_in_a_full_window() -> None:
    body = "v = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 0, 0]> (xd)"
    layer = traced(read(body, sy=np.float32(0.5)), "int8-npu", reals((1, 3, 8, 8))).layers[0]
    vectors = designed(layer)
    (codes,) = vectors.inputs
    sums = (codes[:, 0, :2, :2].astype(int) - 3).sum((1, 2))  # the window at (1, 1)
    ties = [i for i, total in enumerate(sums) if total % 4 == 2 and total > 0]
    assert layer.plan.counts.tolist() == [1, 2, 4]
    assert ties and set(ties) <= set(rows(vectors, Case.TIE_ABOVE))


@pytest.mark.parametrize("seed", range(20))
def test_solve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    c = rng.integers(-127, 128, 9)
    wanted = int(c @ rng.integers(-100, 101, 9))
    found = solve(c, -128, 127, wanted)
    assert found is not None and int(c @ found) == wanted
    assert found.min() >= -128 and found.max() <= 127


def test_solve_gives_up() -> None:
    assert solve(np.array([2, 4, -6]), -8, 7, 5) is None
    assert solve(np.array([1, 1]), -8, 7, 100) is None
