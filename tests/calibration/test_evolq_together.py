"""Children in one run: what is chosen is what one at a time would choose, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Generator, Tensor, fx, nn

import deployq
from deployq.arithmetic.contract import QDQ
from deployq.data import Dataset
from deployq.errors import AccumulatorOverflowError
from deployq.graph.partial_codes import PartialCodes
from deployq.graph.preparation import PreparedModel
from deployq.graph.sample_rows import SampleRows, sample_rows
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.evolq import EvolveSettings
from deployq_calibration.evolq.candidates import Candidates, Join
from deployq_calibration.evolq.outputs import Judge
from deployq_calibration.evolq.population import Member, evolve
from tests.calibration.evolq_variants import VARIANTS, told
from tests.calibration.test_evolq import SMALL, images, network


@examples(deadline=None)
@given(
    st.integers(1, 9), st.integers(2, 9), st.integers(1, 16), st.integers(1, 12),
    st.integers(0, 2**20), st.integers(1, 5),
)  # fmt: skip
def test_a_litter_is_what_one_at_a_time_would_be(
    children: int, together: int, population: int, tournament: int, seed: int, levels: int
) -> None:
    settings = EvolveSettings(children=children, population=population, tournament=tournament)

    def evaluate(genes: Sequence[Tensor], best: float) -> list[float]:
        return [float(torch.sin(1e3 * each).mul(levels).round()) for each in genes]  # many equals

    def search(at_a_time: int) -> tuple[float, float, Tensor]:
        draw = Generator().manual_seed(seed)
        start = Member(0.0, torch.zeros(1, dtype=torch.float64))
        found = evolve(
            start, evaluate, lambda genes: genes + torch.rand(1, generator=draw).double(),
            settings, draw, at_a_time,
        )  # fmt: skip
        return found.fitness, float(found.genes), draw.get_state()

    alone, litter = search(1), search(together)
    assert alone[:2] == litter[:2] and torch.equal(alone[2], litter[2])


@pytest.mark.parametrize("name", list(VARIANTS))
def test_together_decides_as_one_at_a_time_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant, runs = VARIANTS[name], list[int]()
    whole = Candidates._together

    def counted(self: Candidates, join: Any, found: Sequence[Any]) -> Any:
        runs.append(len(found))
        return whole(self, join, found)

    one = variant.model(tmp_path)
    wanted = told(variant.search(one), one)
    monkeypatch.setattr(Candidates, "_together", counted)
    for together in (2, 3):
        runs.clear()
        prepared = variant.model(tmp_path)
        assert told(variant.search(prepared, settings={"together": together}), prepared) == wanted
        assert max(runs) == together


class Refusing:
    """A network that does not run what a child left behind its block: a negative value."""

    def run_from(self, cut: Any, values: Any) -> tuple[Tensor, ...]:
        if any(bool((value < 0).any()) for value in values.values()):
            raise AccumulatorOverflowError("sum", "it fits")
        return tuple(values.values())


def test_a_child_that_is_refused_takes_no_other_with_it() -> None:
    node = fx.Graph().placeholder("x")
    join = Join(node, SampleRows(frozenset([node]), frozenset()))
    candidates = Candidates(None, Refusing(), None, {}, join)  # type: ignore[arg-type]
    good, bad = torch.ones(2, 3), -torch.ones(2, 3)
    for runs in ((good, bad, None, good), (good, None, good), (None, None), (bad, bad)):
        found = candidates._together(join, [None if run is None else {node: run} for run in runs])
        for run, outputs in zip(runs, found, strict=True):
            assert (outputs is None) == (run is not good)
            assert outputs is None or torch.equal(outputs[0], good)


def test_a_lost_child_is_not_evaluated_further() -> None:
    settings = replace(SMALL, racing=1.0)
    judge, asked = Judge.__new__(Judge), list[tuple[int, list[int]]]()
    judge._settings, judge._best, judge.evaluations = settings, [1.0] * 5, 0
    judge._batches = [None] * 5  # type: ignore[list-item]
    judge._loss = lambda batch, outputs: float(outputs[0])  # type: ignore[method-assign]

    def outputs(index: int, networks: Sequence[int]) -> list[tuple[Tensor, ...]]:
        asked.append((index, list(networks)))
        return [(torch.tensor((9.0, 0.9)[number]),) for number in networks]

    found = judge.suffixes(2, outputs, 1.0)
    assert found[0] == float("inf") and found[1] == pytest.approx(0.9)  # float32 outputs
    assert asked == [(0, [0, 1]), (1, [0, 1]), (2, [0, 1]), (3, [1]), (4, [1])]


def rows_of(net: nn.Module, shape: tuple[int, ...]) -> tuple[PreparedModel, SampleRows]:
    x = np.random.default_rng(0).standard_normal((6, *shape)).astype(np.float32)
    prepared = deployq.prepare(net.eval(), [torch.zeros(2, *shape)], "ort-cpu")
    deployq.calibrate(prepared, Dataset({"x": x}), CalibrationSettings(corrections=()))
    return prepared, sample_rows(PartialCodes(prepared, QDQ), [torch.from_numpy(x)])


class Windows(nn.Module):
    """Windows of two tokens along the first axis, a constant beside them, then rows again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)
        self.place = nn.Parameter(torch.randn(1, 6, 8))

    def forward(self, x: Tensor) -> Tensor:
        windows = self.first(x + self.place).reshape(-1, 2, 8)
        found: Tensor = self.last(windows).reshape(x.shape[0], 6, 8)
        return found


def test_rows_are_seen_by_their_number() -> None:
    prepared, rows = rows_of(Windows(), (6, 8))
    nodes = {str(n.meta.get("name", n.name)): n for n in prepared.module.graph.nodes}
    quantized = [n for n in prepared.module.graph.nodes if "activations" in str(n.target)]
    inside = [n for n in quantized if n not in rows.rows | rows.constants]
    assert inside  # windows of samples
    assert nodes["x"] in rows.rows and rows.are_joined({nodes["x"]})
    assert not rows.are_joined({nodes["x"], inside[0]})


def test_runs_are_joined_and_parted() -> None:
    prepared, rows = rows_of(network(), (6, 8))
    whole = PartialCodes(prepared, QDQ)
    data = [torch.from_numpy(images().inputs["x"][part]) for part in (slice(0, 3), slice(3, 8))]
    cut = next(
        n for n in prepared.module.graph.nodes
        if n.op == "call_module" and rows.are_joined(whole.alive(n)) and whole.alive(n)
    )  # fmt: skip
    runs = [whole.run_to([cut], [x])[0][cut] for x in data]
    parts = rows.parted(whole.run_from(cut, rows.joined(runs)), runs)
    for x, found in zip(data, parts, strict=True):
        assert torch.equal(found[0], whole.run([x])[0])
