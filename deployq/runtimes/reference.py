"""The reference on a matrix's samples, and what others' outputs are worth beside it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deployq.data import Dataset
from deployq.qgraph.edges import output_codes
from deployq.runtimes.job import Array, joined
from deployq.verifier.accuracy import module_outputs, reference_outputs
from deployq.verifier.comparison import Comparison
from deployq.verifier.evidence import Evidence
from deployq.verifier.metrics import Batch, Metric
from deployq.verifier.report import Judged, Top1


class Reference:
    """What the prepared model computes on codes, under the target's own arithmetic.

    Args:
        evidence: an opened bundle.
        data: samples.
    """

    def __init__(self, evidence: Evidence, data: Dataset) -> None:
        self._evidence, self.batch = evidence, evidence.batch
        batches = list(data.batches(self.batch))
        self.reals = joined([reference_outputs(evidence, batch) for batch in batches])
        self.floats = joined(
            [module_outputs(evidence, batch, quantized=False) for batch in batches]
        )

    def scale(self, output: str) -> float:
        """Of an output's codes; reals count in steps of a 255th of their range."""
        graph = self._evidence.graph
        name = output_codes(graph)[list(graph.outputs).index(output)]
        if name in graph.qparams:
            return float(graph.qparams[name].scale)
        return float(np.ptp(self.reals[output])) / 255 or 1.0

    def top1(self, found: Array) -> Top1 | None:
        """Agreement of the best class of the first output; None where it has no classes."""
        name = self._evidence.graph.outputs[0]
        both = self.reals[name][: len(found)], found
        own, other = (np.rint(array / self.scale(name)).astype(np.int64) for array in both)
        comparison = Comparison("", "", Judged.TOP1)
        comparison.add_classes(own, other)
        return comparison.top1

    def accuracy(self, metric: Metric, data: Dataset, reals: Mapping[str, Array]) -> float:
        """The metric of a runtime's outputs."""
        meter, start = metric.start(), 0
        for batch in data.batches(self.batch):
            rows = slice(start, start + len(batch))
            start += len(batch)
            outputs, floats = (
                {name: arrays[name][rows] for name in reals} for arrays in (reals, self.floats)
            )
            meter.add(Batch(batch.inputs, batch.labels, outputs, floats))
        return next(iter(meter.values().values()))
