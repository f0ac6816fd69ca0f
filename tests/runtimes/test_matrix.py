"""The digits network in every runtime, and in runtimes that are missing, die or refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deployq.data import Dataset
from deployq.runtimes import matrix
from deployq.runtimes.isolated import Ended, Ending
from deployq.runtimes.matrix import Matrix, MatrixSettings
from deployq.runtimes.row import Row, State
from deployq.verifier.evidence import Evidence
from deployq.verifier.metrics import TOP1
from deployq_exporters.adapters import ADAPTERS, Presence, presence

QUICK = MatrixSettings(samples=64, runs=2, limit_seconds=300)
Bundles = Callable[[str], Path]


@pytest.fixture(scope="module")
def table(bundles: Bundles, unseen: Dataset) -> Matrix:
    path = bundles("litert-ref")
    return Matrix(path, Evidence(path), unseen, TOP1, QUICK)


def test_runtimes_compute_what_their_contracts_say(table: Matrix) -> None:
    rows = rows_of(table, closed=False)
    assert {"onnxruntime", "litert"} <= set(rows)
    own = rows["litert"].reference
    assert own is not None and own.different == 0  # the target's arithmetic is LiteRT's


def test_kernels_in_float_are_held_to_no_contract(bundles: Bundles, unseen: Dataset) -> None:
    """ONNX Runtime has no integer kernels of 16-bit activations; LiteRT has."""
    path = bundles("litert-16x8")
    table = Matrix(path, Evidence(path), unseen, TOP1, QUICK)
    row, own = (table.row(ADAPTERS[name]) for name in ("onnxruntime", "litert"))
    assert (row.integer_share, row.simulated, row.misses(named=True)) == (0.0, None, [])
    assert own.simulated is not None and own.simulated.different == 0


@pytest.mark.slow
def test_so_do_proprietary_ones(table: Matrix) -> None:
    if not rows_of(table, closed=True):
        pytest.skip("no proprietary runtime that computes is installed")


def rows_of(table: Matrix, *, closed: bool) -> dict[str, Row]:
    """Every installed runtime of a kind that computes, by name; each with its contract's codes."""
    kind = [a for a in ADAPTERS.values() if ("proprietary" in a.licence) is closed]
    present = [a for a in kind if a.computes() and not presence(a).problem]
    rows = {row.runtime: row for row in table.rows(present)}
    for row in rows.values():
        assert row.state is State.RAN and row.integer_share == 1.0, row
        assert row.top1 is not None and row.top1.agree == row.top1.decided
        assert row.accuracy is not None and row.accuracy > 0.8
        if row.simulated is not None:
            assert (row.simulated.compared, row.simulated.different) == (640, 0), row
        assert row.misses(named=True) == []
    return rows


def test_a_runtime_with_another_arithmetic_is_told_by_its_first_code(table: Matrix) -> None:
    other = replace(ADAPTERS["onnxruntime"], contract=lambda profile: "litert-ref")
    row = table.row(other)
    assert row.simulated is not None and row.simulated.different
    (miss,) = row.misses(named=False)
    assert "codes are not those of litert-ref; first " in miss and "the contract says" in miss


def test_a_missing_runtime_is_no_miss_unless_it_was_named(
    table: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "presence", lambda adapter: Presence(None, "not installed"))
    row = table.row(ADAPTERS["litert"])
    assert (row.state, row.install) == (State.NOT_RUN, 'pip install "deployq[litert]"')
    assert row.misses(named=False) == [] and len(row.misses(named=True)) == 1


@pytest.mark.parametrize(("ended", "state"), [
    (Ended(Ending.CRASHED, "SIGSEGV"), State.FAILED),
    (Ended(Ending.FAILED, "exit code 1"), State.FAILED),
    (Ended(Ending.TIMED_OUT, "killed after 300 s"), State.TIMED_OUT),
])  # fmt: skip
def test_a_runtime_that_dies_is_a_finding(
    table: Matrix, monkeypatch: pytest.MonkeyPatch, ended: Ended, state: State
) -> None:
    monkeypatch.setattr(matrix, "run_isolated", lambda *arguments: ended)
    row = table.row(ADAPTERS["onnxruntime"])
    assert (row.state, row.reason, row.accepted) == (state, ended.said, False)
    assert row.misses(named=False) == [f"onnxruntime: {state}, {ended.said}"]


def test_a_refusal_says_which_rule(bundles: Bundles, unseen: Dataset) -> None:
    """LiteRT's files have no activations under 8 bits."""
    path = bundles("lowbit-vlsi")
    row = Matrix(path, Evidence(path), unseen, None, QUICK).row(ADAPTERS["litert"])
    assert row.state is State.REFUSED and row.accuracy is None
    assert "[" in row.reason and row.misses(named=False) == []
    assert isinstance(row, Row) and row.to_json()["accepted"] is False
