"""Verify a bundle: conformance of its files to each other, parity, accuracy, latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from deployq.bundle import read_bundle
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.onnx_guard import load_onnx
from deployq.graph.preparation import PreparedModel
from deployq.graph.prepared_files import load_prepared_model
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.nodes import Dequantize
from deployq.verifier.accuracy import top1
from deployq.verifier.latency import measure_latency
from deployq.verifier.parity import (
    Progress,
    float_run_against_reference,
    output_tensor,
    reference_against_simulator,
    runtime_against_simulator,
)
from deployq.verifier.report import Limits, Report
from deployq_exporters.dialects import DIALECTS
from deployq_exporters.runtimes.onnxruntime import Session
from deployq_targets import load_profile

CANONICAL_FILE = "model.onnx"
BATCH = 64


class Evidence:
    """An opened bundle: prepared model, canonical file and the runtime's file, all read once."""

    def __init__(self, path: Path) -> None:
        bundle = read_bundle(path)
        dialect = DIALECTS["onnxruntime"]
        for name in (CANONICAL_FILE, dialect.file_name):
            if name not in {file.path for file in bundle.files}:
                raise InputError(
                    str(path.name),
                    "the bundle must hold the file to verify",
                    found="no " + name,
                    next_step="export again",
                )
        self.prepared: PreparedModel = load_prepared_model(path)
        self.canonical: onnx.ModelProto = load_onnx(path / CANONICAL_FILE)
        self.runtime_file: onnx.ModelProto = load_onnx(path / dialect.file_name)
        self.graph: IntegerGraph = read_graph(self.canonical)
        self.runtime_graph: IntegerGraph = read_graph(self.runtime_file)
        self.contract = self.prepared.profile.contract()
        self.runtime_contract = load_profile(dialect.contract).contract()

    def runtime_session(self, *, probes: bool) -> Session:
        """The runtime's file as it is deployed."""
        return Session(self.runtime_file, _probes(self.runtime_graph) if probes else None)

    def float_session(self, *, probes: bool) -> Session:
        """The canonical file, un-optimised."""
        return Session(self.canonical, _probes(self.graph) if probes else None, optimised=False)


def _probes(graph: IntegerGraph) -> dict[str, Any]:
    """Every computed code tensor."""
    outputs = [n.output for n in graph.nodes if not isinstance(n, Dequantize)]
    return {name: graph.qparams[name] for name in outputs}


def verify_bundle(
    path: Path,
    dataset: Dataset,
    *,
    limits: Limits | None = None,
    latency_runs: int = 100,
    progress: Progress = lambda step: None,
) -> Report:
    """Everything law 12 asks of a bundle, on the samples of ``dataset``.

    Raises:
        InputError: the bundle is broken, or the data does not fit the model.
    """
    evidence = Evidence(path)
    parities = (
        reference_against_simulator(
            evidence.prepared, evidence.graph, evidence.contract, _batches(dataset), progress
        ),
        *runtime_against_simulator(
            evidence.runtime_session(probes=True), evidence.runtime_graph,
            evidence.runtime_contract, _batches(dataset), progress,
        ),
        float_run_against_reference(
            evidence.prepared, evidence.float_session(probes=True), evidence.graph,
            _batches(dataset), progress,
        ),
    )  # fmt: skip
    plain = evidence.runtime_session(probes=False)
    accuracy = top1(
        evidence.prepared, evidence.contract, str(output_tensor(evidence.graph)), plain,
        _batches(dataset), progress,
    )  # fmt: skip
    latency = measure_latency(
        plain, evidence.float_session(probes=False), evidence.prepared.plan.layers,
        _first_sample(dataset), runs=latency_runs,
    )  # fmt: skip
    plan = evidence.prepared.plan
    return Report(
        plan.target, parities, accuracy, len(dataset), latency, plan.floats, limits or Limits()
    )


def steps_of(dataset: Dataset) -> int:
    """How often ``verify_bundle`` reports progress."""
    return 4 * -(-len(dataset) // BATCH)


def _batches(dataset: Dataset) -> Iterator[Dataset]:
    return dataset.batches(BATCH)


def _first_sample(dataset: Dataset) -> Mapping[str, npt.NDArray[Any]]:
    return dataset.take(1).inputs
