"""Verify a bundle: its files against each other, parity, accuracy, latency."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.data import Dataset
from deployq.graph.float_tensors import is_untouched
from deployq.verifier.accuracy import measure
from deployq.verifier.conformance import check_conformance
from deployq.verifier.evidence import Evidence
from deployq.verifier.latency import measure_latency
from deployq.verifier.layers import measure_layers
from deployq.verifier.metrics import Measured, choose_metric
from deployq.verifier.parity import (
    Progress,
    float_layers_against_reference,
    float_run_against_reference,
    reference_against_simulator,
    runtime_against_reference,
    runtime_against_simulator,
)
from deployq.verifier.report import Limits, Parity, Report


def verify_bundle(
    evidence: Evidence,
    dataset: Dataset,
    *,
    limits: Limits | None = None,
    latency_runs: int = 100,
    metric: str | None = None,
    progress: Progress = lambda step: None,
) -> Report:
    """Everything law 12 asks of a bundle, on the samples of ``dataset``.

    Raises:
        InputError: the data does not fit the model, or the metric does not fit the data.
    """
    chosen = choose_metric(metric, dataset)
    conformance = check_conformance(evidence)
    plain = evidence.runtime_session(probes=False)
    # files that speak of different networks have no codes to compare
    # the metric first: labels that do not fit show before the long comparison
    measured = Measured()
    if chosen is not None and not conformance:
        measured = measure(evidence, plain, dataset, chosen, progress)
    parities = () if conformance else _parities(evidence, dataset, progress)
    layers = measure_layers(evidence.prepared, dataset)
    progress("layers")
    latency = measure_latency(
        evidence, plain, evidence.float_session(probes=False), dataset.take(1), runs=latency_runs
    )
    prepared = evidence.prepared
    return Report(
        prepared.plan.target,
        conformance,
        parities,
        measured.values,
        len(dataset),
        latency,
        prepared.floats,
        limits or Limits(),
        measured,
        layers,
        moved=not is_untouched(prepared.module, prepared.provenance),
    )


def _parities(evidence: Evidence, dataset: Dataset, progress: Progress) -> tuple[Parity, ...]:
    def batches() -> Iterator[Dataset]:
        return dataset.batches(evidence.batch)

    runtime = evidence.runtime_session(probes=True)
    floats = float_layers_against_reference(evidence, runtime, batches(), progress)
    return (
        *reference_against_simulator(evidence, batches(), progress),
        runtime_against_reference(evidence, runtime, batches(), progress),
        *runtime_against_simulator(evidence, runtime, batches(), progress),
        *(() if floats is None else (floats,)),
        float_run_against_reference(
            evidence, evidence.float_session(probes=True), batches(), progress
        ),
    )


def steps_of(evidence: Evidence, dataset: Dataset) -> int:
    """How often ``verify_bundle`` reports progress, where everything runs in integers."""
    return 5 * -(-len(dataset) // evidence.batch) + 1
