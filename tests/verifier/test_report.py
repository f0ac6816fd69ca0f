"""Verdicts drawn from counts: what passes, what misses, what is too thin to say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from deployq.arithmetic.contract import QDQ
from deployq.graph.codes import Evaluation
from deployq.qgraph import IntegerGraph
from deployq.qgraph.nodes import Lookup, Move
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq.rendering import print_report
from deployq.verifier.classes import class_codes
from deployq.verifier.comparison import Comparison
from deployq.verifier.report import Judged, Latency, Limits, Parity, Report, Top1, allowed
from deployq.verifier.tally import AT_TIE_LSB, LayerRow, Tally, wanted_distinct

LIMITS = Limits(min_images=2, min_codes=10)
NEAR, EXACT = Judged.NEAR, Judged.EXACT


LATENCY = Latency("r", 1, 1, 1.0, 1.0, 1.0, 1.0, 1.0, ())


def row(different: int = 0, max_lsb: int = 0, far: int = 0, distinct: int = 40) -> LayerRow:
    return LayerRow("conv", 1_000_000, different, max_lsb, far, distinct, 32)


def parity(*rows: LayerRow, judged: Judged = EXACT, agree: int = 2) -> Parity:
    return Parity("p", "c", judged, True, rows, 2, Top1(2, agree, 0))


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (parity(row(different=1, max_lsb=1)), "0 may"),
        (parity(row(different=73, max_lsb=1), judged=NEAR), "73 of 1000000"),
        (parity(row(different=1, max_lsb=2), judged=NEAR), "up to 2 LSB"),
        (parity(row(different=1, max_lsb=1, far=1), judged=NEAR), "1 of them far from a tie"),
        (parity(row(), agree=1), "top-1 agrees on 1 of 2"),
    ],
    ids=["exact", "rate", "2 LSB", "far", "top-1"],
)
def test_missed_limits_are_named(case: Parity, text: str) -> None:
    (miss,) = case.misses()
    assert text in miss


@pytest.mark.parametrize(
    "case",
    [parity(row()), parity(row(different=72, max_lsb=1), judged=NEAR)],
    ids=["exact", "float"],
)
def test_what_the_law_allows_passes(case: Parity) -> None:
    assert case.misses() == [] and case.thin(LIMITS) == []


def test_classes_that_substitution_explains_are_no_miss_in_float() -> None:
    explained = Top1(10, 8, 0, explained=2)
    assert replace(parity(row(), judged=NEAR), top1=explained).misses() == []
    (miss,) = replace(parity(row()), top1=Top1(10, 7, 0)).misses()
    assert "top-1 agrees on 7 of 10 decided images" in miss
    comparison = Comparison("p", "c", NEAR)
    reference, found = np.array([[9, 0, 0], [9, 0, 0], [0, 9, 0]]), np.eye(3, dtype=int)[[0, 1, 2]]
    fed = np.array([[9, 0, 0], [0, 9, 0], [0, 9, 0]])
    comparison.add_classes(reference, found, lambda: fed)
    assert comparison.top1 == Top1(3, 1, 0, explained=1)
    comparison.add_classes(reference, found)
    assert comparison.top1 == Top1(6, 2, 0, explained=1)


def test_thin_evidence_is_a_miss() -> None:
    few = Parity("p", "c", EXACT, True, (LayerRow("conv", 9, 0, 0, 0, 3, 32),), 1, Top1(0, 0, 1))
    report = Report("t", (), (few,), {}, 1, LATENCY, (), LIMITS)
    assert [text.split(": ")[1] for text in report.misses()] == [
        "1 images compared, 2 wanted", "9 codes compared, 10 wanted (2 images make as many)",
        "every one of 1 images is a tie at the top",
        "conv took 3 distinct codes, 32 wanted",
    ]  # fmt: skip
    assert report.exit_code == 1 and report.to_json()["exit_code"] == 1


def test_a_report_prints_as_its_comparisons_misses_and_verdict() -> None:
    bad = parity(row(different=1, max_lsb=1))
    report = Report("npu", (), (bad,), {}, 1, LATENCY, (), LIMITS)
    assert str(report).splitlines() == [
        "p: 1 of 1000000 codes differ",
        "limit missed p: conv: 1 of 1000000 codes differ, 0 may",
        "npu: limits missed",
    ]


def test_a_lowered_limit_is_named_beside_the_usual_one() -> None:
    lowered = replace(Limits(), min_codes=9)
    text = Report("t", (), (), {}, 1, LATENCY, (), lowered).verdict
    assert "min_codes 9 (usual: 10000000), min_distinct 32" in text and "Limits(" not in text


def test_a_network_that_corrections_have_moved_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("t", (), (), {"quantizers off": 0.7}, 1, LATENCY, (), LIMITS)
    for moved in (False, True):
        print_report(replace(report, moved=moved))
        told = "not the float network that it was prepared from" in capsys.readouterr().out
        assert told is moved and replace(report, moved=moved).to_json()["moved"] is moved


def test_tally_counts_codes_ties_and_distinct_values() -> None:
    tally = Tally("conv", 8)
    reference, found = np.array([[1, 2, 3, 3]]), np.array([[1, 3, 3, 5]])
    tally.add(reference, found, steps=np.array([[1.50002, 2.5002, 3.0, 3.1]]))
    assert tally.row() == LayerRow("conv", 4, 2, 2, 1, 3, 8, ((1, 1), (2, 1)), at_tie=1)


@pytest.mark.parametrize(("compared", "most"), [(0, 1), (100, 1), (32_768, 6), (10**8, 5213)])
def test_the_rate_leaves_room_for_chance_and_exact_ties(compared: int, most: int) -> None:
    assert allowed(LayerRow("a", compared, 0, 0, 0, 40, 32)) == most
    by_chance = int(2 * AT_TIE_LSB * compared)
    ties = LayerRow("a", compared, 0, 0, 0, 40, 32, at_tie=by_chance + 9)
    assert allowed(ties) == most + 9


@pytest.mark.parametrize(("bits", "noise"), [(4, 1), (8, 1), (9, 2), (16, 256), (32, 256)])
def test_the_limits_of_float_runs_are_those_of_float32(bits: int, noise: int) -> None:
    result = Comparison("p", "c", NEAR)
    reference, near, far = np.arange(1000), 0.5 - noise * 0.9e-3, 0.5 - noise * 1.1e-3
    steps = reference + 0.1
    steps[:2] = near, 1 + far
    found = reference.copy()
    found[:2] += 1
    result.add_near("a", 0, reference, found, steps, bits)
    (counted,) = result.result().layers
    assert (counted.noise, counted.far_from_tie) == (noise, 1)
    many = LayerRow("a", 10**8, 0, 0, 0, 40, 32, noise=noise)
    assert allowed(many) // noise in range(5000, 5214)


def test_the_verdict_says_where_no_layer_ran_in_integers() -> None:
    floats = replace(LATENCY, integer_share=0.0, float_nodes=("conv",))
    report = Report("t", (), (), {}, 1, floats, (), LIMITS)
    assert report.verdict.endswith("; the runtime has no integer kernels for its layers")
    assert "kernels" not in replace(report, latency=LATENCY).verdict


def test_one_flip_next_to_a_tie_is_allowed_in_a_small_layer() -> None:
    small = LayerRow("head", 100, 1, 1, 0, 40, 32)
    assert parity(small, judged=NEAR).misses() == []
    assert parity(LayerRow("head", 100, 2, 1, 0, 40, 32), judged=NEAR).misses()


@pytest.mark.parametrize(("scale", "wanted"), [(0.0625, 32), (0.5, 12), (8.0, 1)])
def test_a_table_owes_half_of_the_codes_that_it_holds(scale: float, wanted: int) -> None:
    grids = {
        "x": QParams(QType(8, True), np.float32(scale)),
        "y": QParams(QType(8, False), np.float32(1 / 256)),
    }
    node = Lookup(name="gate", op_type="Sigmoid", inputs=("x",), output="y")
    assert wanted_distinct(IntegerGraph((node,), grids, ("x",), ("y",)), QDQ) == {"y": wanted}
    clipped = replace(node, bounds=(128, 129))
    assert wanted_distinct(IntegerGraph((clipped,), grids, ("x",), ("y",)), QDQ) == {"y": 1}
    behind = Move(name="z", op_type="Clip", inputs=("y",), output="z", bounds=(128, 129))
    graph = IntegerGraph((node, behind), grids | {"z": grids["y"]}, ("x",), ("z",))
    assert wanted_distinct(graph, QDQ) == {"y": 0, "z": 1}


def test_a_sample_in_reals_is_judged_by_itself() -> None:
    reals = np.array([[0.0, 100.0], [0.0, 0.5]], np.float32)
    steps = class_codes(Evaluation({}, {}, (torch.from_numpy(reals),)))
    assert steps.tolist() == [[0, 255], [0, 255]]
    result = Comparison("run", "qdq", Judged.NEAR)
    off = reals + np.array([[0.0, 0.0], [0.0, 1e-4]], np.float32)  # far, for the second one alone
    result.add_float_output("y", reals, off)
    assert result.result().different == 1
