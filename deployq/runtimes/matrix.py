"""A bundle in every runtime: accepted or not, its codes, its accuracy, its time."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deployq.data import Dataset
from deployq.errors import UnsupportedError
from deployq.npz import load_arrays
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import output_codes
from deployq.runtimes.comparing import (
    Arrays,
    against_simulation,
    codes_apart,
    first_apart,
    reals_of,
)
from deployq.runtimes.isolated import Ending, run_isolated
from deployq.runtimes.job import FILE, INNER, OUTPUTS, Job, Result
from deployq.runtimes.reference import Reference
from deployq.runtimes.row import Row, State
from deployq.runtimes.source import source_of
from deployq.verifier.evidence import Evidence
from deployq.verifier.latency import integer_share
from deployq.verifier.metrics import Metric
from deployq_exporters.adapters import Adapter, presence
from deployq_targets import load_profile

INNER_SAMPLES = 4
Advance = Callable[[str], None]


@dataclass(frozen=True)
class MatrixSettings:
    """How a matrix is made.

    Args:
        samples: of the data that each runtime runs, at most.
        runs: timed runs of one sample; 0 for none.
        limit_seconds: of each runtime's process.
        threads: of one operator.
    """

    samples: int = 512
    runs: int = 100
    limit_seconds: float = 600.0
    threads: int = 1


class Matrix:
    """What is the same for every runtime.

    Args:
        bundle: its folder.
        evidence: the same, opened.
        data: samples; the first ones are run.
        metric: of their labels, or none.
        settings: how much is run.
    """

    def __init__(
        self,
        bundle: Path,
        evidence: Evidence,
        data: Dataset,
        metric: Metric | None = None,
        settings: MatrixSettings | None = None,
    ) -> None:
        self.bundle, self.evidence, self.metric = bundle, evidence, metric
        self.settings = settings or MatrixSettings()
        self.data = data.take(min(len(data), self.settings.samples))
        self.source = source_of(evidence)
        self.reference = Reference(evidence, self.data)

    def rows(
        self, adapters: Sequence[Adapter], progress: Advance = lambda step: None
    ) -> tuple[Row, ...]:
        """One row for each runtime; none takes the others down.

        Raises:
            InputError: labels that the metric cannot take.
        """
        rows = []
        for adapter in adapters:
            progress(adapter.name)
            rows.append(self.row(adapter))
        return tuple(rows)

    def row(self, adapter: Adapter) -> Row:
        """What became of the bundle in one runtime."""
        found = presence(adapter)
        row = Row(adapter.name, adapter.title, State.NOT_RUN, found.version or "")
        if found.problem:
            return replace(row, reason=found.problem, install=adapter.install)
        data = self.data.take(min(len(self.data), adapter.most_samples or len(self.data)))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self._job(adapter).write(folder, data.inputs)
            command = [sys.executable, "-m", "deployq.runtimes.worker", name]
            ended = run_isolated(command, folder, self.settings.limit_seconds)
            if ended.ending is not Ending.GOOD:
                late = ended.ending is Ending.TIMED_OUT
                state = State.TIMED_OUT if late else State.FAILED
                return replace(row, state=state, reason=ended.said)
            result = Result.read(folder)
            row = self._told(row, result)
            if not result.ran:
                return row
            graph = adapter.read(self.source, (folder / FILE).read_bytes())
            outputs, inner = (load_arrays(folder / name) for name in (OUTPUTS, INNER))
        ran = _Ran(graph, data, reals_of(graph, outputs), inner)
        row = self._beside_reference(row, ran)
        return self._beside_contract(row, adapter.contract(self.source.profile), ran)

    def _job(self, adapter: Adapter) -> Job:
        return Job(
            adapter.name, str(self.bundle.resolve()), self.evidence.batch, INNER_SAMPLES,
            self.settings.runs, self.settings.threads,
        )  # fmt: skip

    def _told(self, row: Row, result: Result) -> Row:
        """What the process said."""
        row = replace(row, version=result.version, facts=dict(result.facts))
        if result.refused:
            said = result.refused
            reason = f"{said['where']}: {said['rule']} [{said['found']}]"
            return replace(row, state=State.REFUSED, reason=reason)
        share = None
        if result.float_products is not None:
            share = integer_share(self.evidence, result.float_products)
        state = State.RAN if result.ran else State.COMPILED
        floats = result.floats or ()
        return replace(row, state=state, integer_share=share, floats=floats, **_times(result))

    def _beside_reference(self, row: Row, ran: _Ran) -> Row:
        first, reference = ran.graph.outputs[0], self.reference
        found, wanted = ran.reals[first], reference.reals[first][: len(ran.data)]
        row = replace(
            row, samples=len(ran.data), top1=reference.top1(found),
            reference=codes_apart(found, wanted, reference.scale(first)),
        )  # fmt: skip
        if self.metric is None:
            return row
        value = reference.accuracy(self.metric, ran.data, ran.reals)
        return replace(row, metric=self.metric.name, accuracy=value)

    def _beside_contract(self, row: Row, name: str | None, ran: _Ran) -> Row:
        graph, inputs = ran.graph, ran.data.inputs
        in_float = graph.floats or row.floats  # of the file, or in the runtime's own kernels
        whole = all(code in graph.qparams for code in output_codes(graph))
        if name is None or in_float or not whole:
            return replace(row, contract=name or "")
        contract = load_profile(name).contract()
        try:
            apart = against_simulation(graph, contract, inputs, ran.reals, self.evidence.batch)
        except UnsupportedError as error:  # its arithmetic is not known for this network
            reason = f"not simulated, {error.where}: {error.rule} [{error.found}]"
            return replace(row, contract=name, reason=reason)
        where = ""
        if apart is not None and apart.different and ran.inner:
            few = {n: array[:INNER_SAMPLES] for n, array in inputs.items()}
            where = first_apart(graph, contract, few, ran.inner)
        return replace(row, contract=name, simulated=apart, first=where)


@dataclass(frozen=True)
class _Ran:
    """What a runtime computed of its file: outputs as reals, and codes of the first samples."""

    graph: IntegerGraph
    data: Dataset
    reals: Arrays
    inner: Arrays


def _times(result: Result) -> dict[str, Any]:
    if not result.times_ms:
        return {}
    median, yardstick = (float(np.median(t)) for t in (result.times_ms, result.yardstick_ms))
    return {"median_ms": median, "ratio": median / yardstick}
