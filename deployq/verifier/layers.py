"""Facts on each layer for the report: SQNR and ranges, from a bounded number of samples."""

from __future__ import annotations

from deployq.data import Dataset
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import LinearCall, linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.verifier.layer_facts import LayerFacts
from deployq.verifier.parity import tensors_of
from deployq.verifier.ranges import TensorRange, activation_range, weight_range
from deployq.verifier.sqnr import LayerSqnr, layer_sqnr, sqnr_db
from deployq.verifier.three_ways import Ways, run_three_ways

SAMPLES = 64
"""The first ones are measured, in one batch: three float passes over it, whatever the data has."""


def measure_layers(prepared: PreparedModel, dataset: Dataset) -> LayerFacts:
    """SQNR and ranges of every layer over the first :data:`SAMPLES` samples."""
    sample = dataset.take(min(SAMPLES, len(dataset)))
    weights = [_weight_facts(call) for call in linear_calls(prepared)]
    weight_db = {found.tensor: db for found, db in weights}
    rows: list[LayerSqnr] = []
    ranges: list[TensorRange] = []

    def seen(name: str, quantizer: FakeQuantize, ways: Ways) -> None:
        rows.append(layer_sqnr(name, ways, weight_db.get(name)))
        ranges.append(activation_range(name, ways.float, quantizer.qparams()))

    run_three_ways(prepared, tensors_of(prepared, sample), seen)
    return LayerFacts(len(sample), tuple(rows), (*ranges, *(found for found, _ in weights)))


def _weight_facts(call: LinearCall) -> tuple[TensorRange, float | None]:
    """The weight as its quantizer sees it: BatchNorm folded where it is folded."""
    weight, quantizer = call.seen_weight(), call.unit.weight_quantizer
    quantized = quantizer(weight).detach()
    return weight_range(call.name, weight, quantizer.qparams()), sqnr_db(weight, quantized)
